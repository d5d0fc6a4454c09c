//! The binary `headsaw`.
fn main() {
    println!("headsaw");
}
