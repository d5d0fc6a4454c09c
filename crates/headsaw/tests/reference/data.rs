//! Readers of the reference data, and what is said of errors.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// A CSV file: its heading and its rows.
pub struct Csv {
    head: Vec<String>,
    /// The rows, a cell a column.
    pub rows: Vec<Vec<String>>,
}

impl Csv {
    /// Reads a file below the reference folder, plain or gzip; none where the folder is absent.
    pub fn read(path: &str) -> Option<Csv> {
        let path = folder()?.join(path);
        let mut bytes = Vec::new();
        let mut file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.read_to_end(&mut bytes).expect("a readable file");
        if path.extension().is_some_and(|extension| extension == "gz") {
            let packed = std::mem::take(&mut bytes);
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("gzip");
        }
        let text = String::from_utf8(bytes).expect("UTF-8");
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_string).collect::<Vec<_>>());
        Some(Csv { head: lines.next().expect("a heading"), rows: lines.collect() })
    }

    /// The number of a column.
    pub fn column(&self, name: &str) -> usize {
        self.head.iter().position(|head| head == name).unwrap_or_else(|| panic!("no column {name} in {:?}", self.head))
    }
}

/// The reference folder; says so where there is none.
pub fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no reference data");
    None
}

/// Relative errors, as they are reported.
pub struct Errors {
    /// How many.
    pub rows: usize,
    /// Half are smaller.
    pub median: f64,
    /// Mean.
    pub mean: f64,
    /// Nine in ten are smaller.
    pub p90: f64,
    /// Mean with its sign: above 0 is predicted too slow.
    pub bias: f64,
}

impl Errors {
    /// Of pairs (predicted, measured).
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Errors {
        let signed: Vec<f64> = pairs.into_iter().map(|(predicted, measured)| predicted / measured - 1.0).collect();
        let mut size: Vec<f64> = signed.iter().map(|error| error.abs()).collect();
        size.sort_by(f64::total_cmp);
        let rows = size.len();
        assert!(rows > 0, "errors of no rows");
        let mean = |list: &[f64]| list.iter().sum::<f64>() / rows as f64;
        Errors { rows, median: size[rows / 2], mean: mean(&size), p90: size[rows * 9 / 10], bias: mean(&signed) }
    }
}

impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [median, mean, p90, bias] = [self.median, self.mean, self.p90, self.bias].map(|error| 100.0 * error);
        write!(f, "{:6} rows  median {median:5.1} %  mean {mean:5.1} %  p90 {p90:5.1} %  bias {bias:+5.1} %", self.rows)
    }
}
