//! Figures over time: memory of the gateway, size of its ledger, and where they lead.

use std::time::Duration;

use serde::Serialize;

/// Samples of one figure, in the order of their times.
#[derive(Debug, Clone, Default)]
pub(super) struct Gauge {
    samples: Vec<(Duration, u64)>,
}

/// What became of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Course {
    pub first_bytes: u64,
    pub highest_bytes: u64,
    pub last_bytes: u64,
    /// Of the line through the samples after the first quarter of their time, which is warming up.
    /// Absent while there are too few.
    pub slope_bytes_per_hour: Option<i64>,
    /// The time that the line is about.
    pub slope_over_seconds: u64,
}

impl Gauge {
    pub(super) fn note(&mut self, at: Duration, bytes: u64) {
        self.samples.push((at, bytes));
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.samples.last().map(|(_, bytes)| *bytes)
    }

    fn lasted(&self) -> Duration {
        match (self.samples.first(), self.samples.last()) {
            (Some((first, _)), Some((last, _))) => last.saturating_sub(*first),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn course(&self) -> Option<Course> {
        let (began, first_bytes) = *self.samples.first()?;
        let settled = began + self.lasted() / 4;
        let warm: Vec<(Duration, u64)> =
            self.samples.iter().copied().filter(|(at, _)| *at >= settled).collect();
        let over = match (warm.first(), warm.last()) {
            (Some((first, _)), Some((last, _))) => last.saturating_sub(*first),
            _ => Duration::ZERO,
        };
        Some(Course {
            first_bytes,
            highest_bytes: self.samples.iter().map(|(_, bytes)| *bytes).max()?,
            last_bytes: self.last()?,
            slope_bytes_per_hour: slope_per_hour(&warm),
            slope_over_seconds: over.as_secs(),
        })
    }

    /// One course of several lives: where each begins, the highest of all, the last of the last; the
    /// slope is that of the longest, because every life warms up anew.
    pub(super) fn course_of_lives(lives: &[Self]) -> Option<Course> {
        let longest = lives.iter().max_by_key(|life| life.lasted())?.course()?;
        let courses: Vec<Course> = lives.iter().filter_map(Self::course).collect();
        Some(Course {
            first_bytes: courses.first()?.first_bytes,
            highest_bytes: courses.iter().map(|course| course.highest_bytes).max()?,
            last_bytes: courses.last()?.last_bytes,
            ..longest
        })
    }
}

/// Least squares, in whole numbers; `None` for fewer than eight samples, through which any line can be
/// laid.
fn slope_per_hour(samples: &[(Duration, u64)]) -> Option<i64> {
    if samples.len() < 8 {
        return None;
    }
    let began = samples[0].0;
    let (mut n, mut at_sum, mut at_squares) = (0i128, 0i128, 0i128);
    let (mut bytes_sum, mut products) = (0i128, 0i128);
    for (at, bytes) in samples {
        let at = i128::try_from(at.saturating_sub(began).as_millis()).ok()?;
        let bytes = i128::from(*bytes);
        n += 1;
        at_sum += at;
        at_squares += at * at;
        bytes_sum += bytes;
        products += at * bytes;
    }
    let below = n * at_squares - at_sum * at_sum;
    let above = (n * products - at_sum * bytes_sum) * 3_600_000;
    (below > 0).then(|| i64::try_from(above / below).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(samples: impl IntoIterator<Item = (u64, u64)>) -> Gauge {
        let mut gauge = Gauge::default();
        for (minute, bytes) in samples {
            gauge.note(Duration::from_mins(minute), bytes);
        }
        gauge
    }

    #[test]
    fn a_warm_up_is_no_growth_and_a_leak_is() {
        let level = gauge((0..60).map(|minute| (minute, if minute < 10 { 10 } else { 1_000_000 })));
        let course = level.course().unwrap();
        assert_eq!(course.slope_bytes_per_hour, Some(0));
        assert_eq!((course.first_bytes, course.highest_bytes), (10, 1_000_000));

        let leak = gauge((0..60).map(|minute| (minute, 1_000_000 + minute * 1_000)));
        assert_eq!(leak.course().unwrap().slope_bytes_per_hour, Some(60_000));
        assert_eq!(gauge([(0, 1), (9, 2)]).course().unwrap().slope_bytes_per_hour, None);
        assert_eq!(Gauge::default().course(), None);
    }

    #[test]
    fn of_several_lives_the_longest_tells_the_slope() {
        let short = gauge((0..10).map(|minute| (minute, 5_000_000 + minute * 100_000)));
        let long = gauge((10..60).map(|minute| (minute, 2_000_000)));
        let course = Gauge::course_of_lives(&[short, long]).unwrap();
        assert_eq!(course.slope_bytes_per_hour, Some(0));
        assert_eq!(course.highest_bytes, 5_900_000);
        assert_eq!((course.first_bytes, course.last_bytes), (5_000_000, 2_000_000));
    }
}
