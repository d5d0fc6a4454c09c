//! What a micro-batch carries through the model.

/// One token on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Row {
    /// Its id.
    pub token: u32,
    /// Which sequence of the KV cache it belongs to.
    pub slot: u32,
    /// Its position in the sequence.
    pub position: u32,
    /// Its logits are wanted.
    pub sampled: bool,
}

/// What a micro-batch carries through the model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Its tokens.
    pub rows: Vec<Row>,
    /// The run is over.
    pub stop: bool,
}

const ROW_BYTES: usize = 16;

impl Header {
    /// An empty header with room for `rows` tokens.
    pub fn with_room(rows: usize) -> Header {
        Header { rows: Vec::with_capacity(rows), stop: false }
    }

    /// Rows whose logits are wanted, by their place in `rows`.
    pub fn sampled(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().enumerate().filter(|(_, row)| row.sampled).map(|(i, _)| i)
    }

    /// Bytes of a message with `rows` tokens.
    pub fn bytes_most(rows: usize) -> usize {
        8 + ROW_BYTES * rows
    }

    /// As a message; gives its length.
    pub fn write(&self, bytes: &mut [u8]) -> usize {
        bytes[..4].copy_from_slice(&u32::from(self.stop).to_le_bytes());
        bytes[4..8].copy_from_slice(&(self.rows.len() as u32).to_le_bytes());
        for (row, bytes) in self.rows.iter().zip(bytes[8..].chunks_exact_mut(ROW_BYTES)) {
            let words = [row.token, row.slot, row.position, u32::from(row.sampled)];
            for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(4)) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
        }
        Header::bytes_most(self.rows.len())
    }

    /// From a message.
    pub fn read(&mut self, bytes: &[u8]) {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        self.stop = word(0) != 0;
        self.rows.clear();
        self.rows.extend((0..word(4) as usize).map(|i| {
            let at = 8 + ROW_BYTES * i;
            Row { token: word(at), slot: word(at + 4), position: word(at + 8), sampled: word(at + 12) != 0 }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_message() {
        let row = |token| Row { token, slot: 1, position: token + 7, sampled: token % 2 == 1 };
        let header = Header { rows: (0..5).map(row).collect(), stop: false };
        let mut bytes = vec![0; Header::bytes_most(5)];
        assert_eq!(header.write(&mut bytes), bytes.len());
        let mut read = Header::with_room(5);
        read.read(&bytes);
        assert_eq!(read, header);
        assert_eq!(read.sampled().collect::<Vec<_>>(), [1, 3]);
    }
}
