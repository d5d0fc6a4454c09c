//! What a number in a cluster file may be: by the unit that ends its field's name, or by the name itself.

/// Most devices of a cluster.
pub const DEVICES_MAX: u32 = 1 << 20;

/// Longest name or title.
pub const NAME_BYTES_MAX: usize = 1000;

/// Most entries of a list.
pub const LIST_MAX: usize = 1024;

/// What a number may be.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// End of the field's name, or the whole of it.
    ends: &'static str,
    /// In words, for the message.
    pub words: &'static str,
    /// The least number, itself allowed where it is not zero or `zero` is set.
    least: f64,
    most: f64,
    zero: bool,
}

const fn rule(ends: &'static str, words: &'static str, least: f64, most: f64) -> Rule {
    Rule { ends, words, least, most, zero: false }
}

const fn or_zero(ends: &'static str, words: &'static str, most: f64) -> Rule {
    Rule { ends, words, least: 0.0, most, zero: true }
}

/// The first whose end fits counts. Bounds are a few thousand times what exists today.
const RULES: &[Rule] = &[
    rule("format", "1", 1.0, 1.0),
    rule("count", "a number of devices from 1 to 1048576", 1.0, DEVICES_MAX as f64),
    rule("devices", "a number of devices from 1 to 1048576", 1.0, DEVICES_MAX as f64),
    rule("units", "a number of multiprocessors from 1 to 65536", 1.0, 65536.0),
    rule("tiles", "a number of tiles from 1 to 64", 1.0, 64.0),
    rule("cores", "a number of cores from 1 to 65536", 1.0, 65536.0),
    rule("tokens", "a positive number of tokens", 1.0, u32::MAX as f64),
    rule("queries", "a positive number of queries", 1.0, u32::MAX as f64),
    rule("keys", "a positive number of keys", 1.0, u32::MAX as f64),
    rule("mesh", "a number of rings from 0.01 to 1000", 0.01, 1e3),
    rule("together", "a share from 0.01 to 1", 0.01, 1.0),
    or_zero("overlap", "a share from 0 to 1", 1.0),
    rule("bytes_per_second", "a number of bytes a second from 1 to 1e17", 1.0, 1e17),
    rule("flops_per_second", "a number of operations a second from 1 to 1e20", 1.0, 1e20),
    rule("_per_second", "a number a second from 1 to 1e20", 1.0, 1e20),
    rule("efficiency", "a share or ratio from 0.001 to 100", 1e-3, 100.0),
    rule("_hertz", "a positive number of hertz, at most 1e12", 0.0, 1e12),
    rule("_bytes", "a positive number of bytes, at most 1e15", 1.0, 1e15),
    or_zero("_seconds", "a number of seconds from 0 to 1000", 1000.0),
    or_zero("", "a finite number, 0 or more", 1e20),
];

impl Rule {
    /// The rule for a field of that name.
    pub fn of(field: &str) -> &'static Rule {
        RULES.iter().find(|rule| field.ends_with(rule.ends)).expect("the last rule fits all")
    }

    /// Is the number allowed? NaN never is.
    pub fn allows(&self, number: f64) -> bool {
        number >= self.least && number <= self.most && (number != 0.0 || self.zero)
    }
}
