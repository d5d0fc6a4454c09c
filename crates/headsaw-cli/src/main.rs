fn main() {
    println!("headsaw");
}
