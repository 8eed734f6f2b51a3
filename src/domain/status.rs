//! Statuses of a dossier (`TrangThaiHoSo`, `TrangThai`) and the transitions that are usual.

use std::fmt::{Display, Formatter};

/// The portal's ten statuses. Any other value is a diagnostic, never a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Mới đăng ký
    Registered = 1,
    /// Được tiếp nhận
    Received = 2,
    /// Không được tiếp nhận
    Refused = 3,
    /// Đang xử lý
    Processing = 4,
    /// Yêu cầu bổ sung giấy tờ
    SupplementRequested = 5,
    /// Yêu cầu thực hiện nghĩa vụ tài chính
    PaymentRequested = 6,
    /// Công dân yêu cầu rút hồ sơ
    Withdrawn = 7,
    /// Dừng xử lý
    Stopped = 8,
    /// Đã xử lý xong
    Finished = 9,
    /// Đã trả kết quả
    Returned = 10,
}

impl Status {
    pub const ALL: [Self; 10] = [
        Self::Registered,
        Self::Received,
        Self::Refused,
        Self::Processing,
        Self::SupplementRequested,
        Self::PaymentRequested,
        Self::Withdrawn,
        Self::Stopped,
        Self::Finished,
        Self::Returned,
    ];

    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    pub const fn code(self) -> &'static str {
        match self {
            Self::Registered => "1",
            Self::Received => "2",
            Self::Refused => "3",
            Self::Processing => "4",
            Self::SupplementRequested => "5",
            Self::PaymentRequested => "6",
            Self::Withdrawn => "7",
            Self::Stopped => "8",
            Self::Finished => "9",
            Self::Returned => "10",
        }
    }

    pub const fn label(self) -> &'static str {
        match self {
            Self::Registered => "Mới đăng ký",
            Self::Received => "Được tiếp nhận",
            Self::Refused => "Không được tiếp nhận",
            Self::Processing => "Đang xử lý",
            Self::SupplementRequested => "Yêu cầu bổ sung giấy tờ",
            Self::PaymentRequested => "Yêu cầu thực hiện nghĩa vụ tài chính",
            Self::Withdrawn => "Công dân yêu cầu rút hồ sơ",
            Self::Stopped => "Dừng xử lý",
            Self::Finished => "Đã xử lý xong",
            Self::Returned => "Đã trả kết quả",
        }
    }

    /// No further status is expected.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Refused | Self::Withdrawn | Self::Stopped | Self::Returned)
    }

    /// Whether going from `self` to `next` is usual. No law enforces transitions, so an unusual one
    /// is a warning.
    pub fn usually_becomes(self, next: Self) -> bool {
        use Status as S;
        self == next
            || match self {
                S::Registered => matches!(next, S::Received | S::Refused),
                S::Received | S::Processing => matches!(
                    next,
                    S::Processing
                        | S::SupplementRequested
                        | S::PaymentRequested
                        | S::Withdrawn
                        | S::Stopped
                        | S::Finished
                ),
                S::SupplementRequested => {
                    matches!(next, S::Received | S::Processing | S::Withdrawn | S::Stopped)
                }
                S::PaymentRequested => {
                    matches!(next, S::Processing | S::Withdrawn | S::Stopped | S::Finished)
                }
                S::Finished => next == S::Returned,
                S::Refused | S::Withdrawn | S::Stopped | S::Returned => false,
            }
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.code(), self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ten_codes_parse() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.code()), Some(status));
        }
        for code in ["0", "11", "01", " 1", "", "77"] {
            assert_eq!(Status::parse(code), None, "{code}");
        }
    }

    #[test]
    fn nothing_usually_follows_a_terminal_status_and_a_pause_is_not_one() {
        for status in Status::ALL.into_iter().filter(|status| status.is_terminal()) {
            assert!(Status::ALL.into_iter().all(|n| n == status || !status.usually_becomes(n)));
        }
        assert!(!Status::SupplementRequested.is_terminal());
        assert!(!Status::PaymentRequested.is_terminal());
        assert!(!Status::SupplementRequested.usually_becomes(Status::Finished));
    }
}
