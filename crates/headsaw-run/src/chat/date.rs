//! The date as `strftime` writes it, for templates that tell it to the model. UTC; English names.

use std::fmt::Write as _;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// `format` with the parts of `now`, seconds since 1970; what is no known part stays as it is.
pub(super) fn strftime(format: &str, now: u64) -> String {
    let (days, second) = (now / 86_400, now % 86_400);
    let (year, month, day) = civil(days);
    let (weekday, month_name) = (DAYS[((days + 4) % 7) as usize], MONTHS[month as usize - 1]);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let hour_12 = (hour + 11) % 12 + 1;
    let day_of_year = (1..month).map(|month| length(year, month)).sum::<u64>() + day;
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let rest = chars.as_str();
        let bare = rest.starts_with('-'); // without a zero in front
        let part = if bare { rest[1..].chars().next() } else { rest.chars().next() };
        let mut number = |n: u64, width: usize| write!(text, "{n:0width$}", width = if bare { 1 } else { width });
        let written = match part {
            Some('Y') => number(year, 4),
            Some('y') => number(year % 100, 2),
            Some('m') => number(month, 2),
            Some('d') => number(day, 2),
            Some('j') => number(day_of_year, 3),
            Some('H') => number(hour, 2),
            Some('I') => number(hour_12, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('B') => write!(text, "{month_name}"),
            Some('b') => write!(text, "{}", &month_name[..3]),
            Some('A') => write!(text, "{weekday}"),
            Some('a') => write!(text, "{}", &weekday[..3]),
            Some('p') => write!(text, "{}", if hour < 12 { "AM" } else { "PM" }),
            Some('F') => write!(text, "{year:04}-{month:02}-{day:02}"),
            Some('T') => write!(text, "{hour:02}:{minute:02}:{second:02}"),
            Some('%') => write!(text, "%"),
            _ => {
                text.push('%');
                continue;
            }
        };
        debug_assert!(written.is_ok(), "a String takes all");
        chars = rest[1 + usize::from(bare)..].chars();
    }
    text
}

fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

fn length(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a number of days since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    const CYCLE_DAYS: u64 = 146_097; // of 400 years
    let (mut year, mut left) = (1970 + 400 * (days / CYCLE_DAYS), days % CYCLE_DAYS);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    while left >= length(year, month) {
        left -= length(year, month);
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::strftime;

    /// By Python: `datetime.fromtimestamp(now, timezone.utc).strftime(format)`.
    #[test]
    fn as_python_writes_it() {
        let all = "%Y-%m-%d %H:%M:%S %j %a %A %b %B %I %p %y %% %F %T";
        for (now, written) in [
            (0, "1970-01-01 00:00:00 001 Thu Thursday Jan January 12 AM 70 % 1970-01-01 00:00:00"),
            (951_868_799, "2000-02-29 23:59:59 060 Tue Tuesday Feb February 11 PM 00 % 2000-02-29 23:59:59"),
            (1_735_646_400, "2024-12-31 12:00:00 366 Tue Tuesday Dec December 12 PM 24 % 2024-12-31 12:00:00"),
            (4_107_542_400, "2100-03-01 00:00:00 060 Mon Monday Mar March 12 AM 00 % 2100-03-01 00:00:00"),
        ] {
            assert_eq!(strftime(all, now), written);
        }
        assert_eq!(strftime("%-d. %-m., %Q é%", 0), "1. 1., %Q é%");
        assert!(strftime("%Y", u64::MAX).ends_with("584554051223"), "{}", strftime("%Y", u64::MAX));
    }
}
