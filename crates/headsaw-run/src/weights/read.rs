//! Reading bytes at a place: no memory map, so a file that shrinks is an error and not a signal.

use super::error::Error;
use std::fs::File;
use std::io;
use std::path::Path;

/// Bytes that can be read at any place.
pub trait ReadAt: Send + Sync + std::fmt::Debug {
    /// Number of bytes when it was opened.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` on, or fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for &'static [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        copy(self, buffer, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        copy(self, buffer, offset)
    }
}

fn copy(bytes: &[u8], buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let part = usize::try_from(offset).ok().and_then(|from| bytes.get(from..from.checked_add(buffer.len())?));
    buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

/// An open file and its size at that time.
#[derive(Debug)]
struct FileAt {
    file: File,
    size: u64,
}

impl ReadAt for FileAt {
    fn size(&self) -> u64 {
        self.size
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    #[cfg(not(any(unix, windows)))]
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(windows)]
    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let n = std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[n..];
            offset += n as u64;
        }
        Ok(())
    }
}

/// A named source of bytes; its reads say in the error what they were for.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    bytes: Box<dyn ReadAt>,
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Source, Error> {
        let name = path.display().to_string();
        let fail = |e| Error::io(&name, "cannot open it", e);
        // Asked before it is opened: opening a pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(fail)?.is_file() {
            return Err(Error::absent(&name, "not a regular file"));
        }
        let file = File::open(path).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        Ok(Source { bytes: Box::new(FileAt { file, size: meta.len() }), name })
    }

    pub(crate) fn from_bytes(name: &str, bytes: impl ReadAt + 'static) -> Source {
        Source { name: name.into(), bytes: Box::new(bytes) }
    }

    pub(crate) fn size(&self) -> u64 {
        self.bytes.size()
    }

    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64, what: &str) -> Result<(), Error> {
        self.bytes.read_at(buffer, offset).map_err(|e| {
            let what = format!("cannot read {} bytes of {what} at byte {offset}", buffer.len());
            Error::io(&self.name, what, e)
        })
    }

    /// The whole file as text, if it is at most `cap` bytes long.
    pub(crate) fn text(&self, cap: u64) -> Result<String, Error> {
        let size = self.size();
        if size > cap {
            return Err(Error::format(&self.name, 0, format!("{size} bytes"), format!("at most {cap}")));
        }
        let mut bytes = vec![0; size as usize];
        self.read(&mut bytes, 0, "text")?;
        String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to() as u64;
            Error::format(&self.name, at, "bytes that are not UTF-8", "UTF-8 text")
        })
    }
}

/// Bytes that a [`Cursor`] reads ahead.
const AHEAD: usize = 64 << 10;

/// Reads a header front to back; never asks for memory that the file cannot fill.
pub(crate) struct Cursor<'a> {
    source: &'a Source,
    /// Place in the file of the next byte.
    pub(crate) at: u64,
    ahead: Vec<u8>,
    ahead_start: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(source: &'a Source, at: u64) -> Cursor<'a> {
        Cursor { source, at, ahead: vec![], ahead_start: 0 }
    }

    pub(crate) fn name(&self) -> &'a str {
        &self.source.name
    }

    pub(crate) fn left(&self) -> u64 {
        self.source.size().saturating_sub(self.at)
    }

    /// Fails unless `bytes` more are there.
    pub(crate) fn need(&self, bytes: u64, what: &str) -> Result<(), Error> {
        let left = self.left();
        if bytes <= left {
            return Ok(());
        }
        Err(self.wrong(format!("{what} of {bytes} bytes"), format!("at most the {left} bytes left in the file")))
    }

    pub(crate) fn wrong(&self, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::format(&self.source.name, self.at, found, expected)
    }

    pub(crate) fn skip(&mut self, bytes: u64, what: &str) -> Result<(), Error> {
        self.need(bytes, what)?;
        self.at += bytes;
        Ok(())
    }

    pub(crate) fn fill(&mut self, buffer: &mut [u8], what: &str) -> Result<(), Error> {
        self.need(buffer.len() as u64, what)?;
        let end = self.at + buffer.len() as u64;
        if buffer.len() > AHEAD {
            self.source.read(buffer, self.at, what)?;
        } else {
            if self.at < self.ahead_start || end > self.ahead_start + self.ahead.len() as u64 {
                self.ahead.resize(self.left().min(AHEAD as u64) as usize, 0);
                self.ahead_start = self.at;
                self.source.read(&mut self.ahead, self.at, what)?;
            }
            let from = (self.at - self.ahead_start) as usize;
            buffer.copy_from_slice(&self.ahead[from..from + buffer.len()]);
        }
        self.at = end;
        Ok(())
    }

    /// The next `len` bytes, as something to read from.
    pub(crate) fn take(self, len: u64) -> std::io::Take<Self> {
        std::io::Read::take(self, len)
    }

    pub(crate) fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Error> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, Error> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    /// A length, then so many bytes of UTF-8, at most `cap`.
    pub(crate) fn string(&mut self, cap: u64, what: &str) -> Result<String, Error> {
        let start = self.at;
        let len = self.u64(what)?;
        if len > cap {
            self.at = start;
            return Err(self.wrong(format!("{what} of {len} bytes"), format!("at most {cap}")));
        }
        self.need(len, what)?;
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes, what)?;
        String::from_utf8(bytes).map_err(|e| {
            let at = start + 8 + e.utf8_error().valid_up_to() as u64;
            Error::format(&self.source.name, at, format!("{what} that is not UTF-8"), "UTF-8 text")
        })
    }
}

impl io::Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.left().min(buffer.len() as u64) as usize;
        self.fill(&mut buffer[..len], "text").map_err(io::Error::other)?;
        Ok(len)
    }
}
