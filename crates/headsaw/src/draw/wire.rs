//! The wire format of protocol buffers, as far as a trace needs it (protobuf.dev, "Encoding").

/// A message that is being written.
#[derive(Debug, Clone, Default)]
pub struct Message(Vec<u8>);

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    /// An integer, or an enum's number.
    pub fn number(mut self, field: u32, value: u64) -> Message {
        self.key(field, VARINT);
        self.varint(value);
        self
    }

    /// Eight bytes.
    pub fn fixed(mut self, field: u32, value: u64) -> Message {
        self.key(field, FIXED64);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A text.
    pub fn text(mut self, field: u32, text: &str) -> Message {
        self.bytes(field, text.as_bytes());
        self
    }

    /// A message inside.
    pub fn message(mut self, field: u32, inside: &Message) -> Message {
        self.bytes(field, &inside.0);
        self
    }

    /// Some bytes, at the end.
    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    /// A message inside, at the end.
    pub fn push(&mut self, field: u32, inside: &Message) {
        self.bytes(field, &inside.0);
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_page_of_the_format_shows() {
        assert_eq!(Message::default().number(1, 150).finish(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().text(2, "testing").finish(), *b"\x12\x07testing");
        let inside = Message::default().number(1, 150);
        assert_eq!(Message::default().message(3, &inside).finish(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Message::default().fixed(1, 1).finish(), [9, 1, 0, 0, 0, 0, 0, 0, 0]);
    }
}
