//! What a hostile hand does to a file.

use proptest::sample::Index;
use serde_json::Value;

/// Values inside a value, at places drawn by chance, are others.
pub fn change(file: &mut Value, changes: Vec<(Index, Value)>) {
    for (at, value) in changes {
        let mut places = Vec::new();
        pointers(file, String::new(), &mut places);
        *file.pointer_mut(&places[at.index(places.len())]).unwrap() = value;
    }
}

/// All values inside a value, by their JSON pointers.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| pointers(inner, format!("{at}/{key}"), found)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, inner)| pointers(inner, format!("{at}/{i}"), found))
        }
        _ => {}
    }
    found.push(at);
}
