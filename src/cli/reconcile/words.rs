//! What buckets, causes and columns are called in reports, in English and Vietnamese.

use crate::domain::cause::Cause;
use crate::domain::discrepancy::Bucket;
use crate::ledger::reconcile::RowKind;

/// A thing's name in both languages.
pub(super) struct Words {
    pub en: &'static str,
    pub vi: &'static str,
}

const fn words(en: &'static str, vi: &'static str) -> Words {
    Words { en, vi }
}

pub(super) const fn bucket(bucket: Bucket) -> Words {
    match bucket {
        Bucket::Matched => words("matched", "Khớp"),
        Bucket::Different => words("different", "Khác nội dung"),
        Bucket::Missing => words("missing", "Thiếu trên Cổng"),
        Bucket::Unverifiable => words("unverifiable", "Chưa xác minh được"),
        Bucket::Quarantined => words("quarantined", "Bị giữ lại"),
        Bucket::Dead => words("dead", "Cổng từ chối"),
        Bucket::Open => words("open", "Đang xử lý"),
        Bucket::NotOurs => words("not ours", "Không thuộc diện gửi"),
        Bucket::Extra => words("extra", "Thừa trên Cổng"),
    }
}

pub(super) const fn cause(cause: Cause) -> Words {
    match cause {
        Cause::NotYetSent => words("not yet sent", "Chưa gửi xong"),
        Cause::NotReceived => {
            words("the feed never gave it", "Nguồn có trong danh mục nhưng chưa từng cấp dữ liệu")
        }
        Cause::Behind => {
            words("the feed is behind the index", "Dữ liệu nhận được cũ hơn danh mục của nguồn")
        }
        Cause::Lost => words("lost at the portal", "Cổng làm mất"),
        Cause::ChangedAtPortal => words("changed at the portal", "Bị thay đổi trên Cổng"),
        Cause::MappingChanged => words("the mapping changed", "Bảng ánh xạ đã thay đổi"),
        Cause::CodeListChanged => words("a code list changed", "Danh mục mã đã thay đổi"),
        Cause::FormattingOnly => words("written otherwise only", "Chỉ khác cách viết"),
        Cause::SourceWentBack => words("the source went back", "Nguồn quay về dữ liệu cũ"),
        Cause::StepMissing => words("steps are missing", "Thiếu bước xử lý"),
        Cause::StepOrder => words("steps out of order", "Sai thứ tự bước xử lý"),
        Cause::RefusedHere => {
            words("refused by mapping or catalogue", "Không qua kiểm tra ánh xạ, danh mục")
        }
        Cause::RefusedByPortal => words("refused by the portal", "Cổng từ chối hẳn"),
        Cause::NotOurs => words("never sent", "Không thuộc trách nhiệm gửi"),
        Cause::Presumed => words("sent by an older program", "Hệ thống cũ đã gửi"),
        Cause::NoAnswer => words("the portal did not answer", "Cổng không trả lời"),
    }
}

pub(super) const fn kind(kind: RowKind) -> Words {
    match kind {
        RowKind::Day => words("Received", "Ngày tiếp nhận"),
        RowKind::Agency => words("Agency", "Cơ quan"),
        RowKind::Procedure => words("Procedure", "Thủ tục"),
    }
}

pub(super) const AT_SOURCE: Words = words("at source", "Tại nguồn");
pub(super) const EXPLAINED: Words = words("explained", "Tỷ lệ có nguyên nhân");
pub(super) const CLOSES: Words = words("closes", "Khớp sổ");
pub(super) const SUM: Words = words("all", "Tổng cộng");
