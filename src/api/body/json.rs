//! A body's JSON, read strictly: no duplicate keys, no NUL, bounded nesting and number of values.
//!
//! Bytes come bounded by the front. What is bounded here is what they may become: four million bytes of `[[],[],…` would be a hundred times
//! that in memory, and a key that is there twice is read by some servers as the first and by others as the last.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::fault::{Fault, Pointer};

/// Deepest nesting. A batch of definitions needs six.
const DEPTH: usize = 32;
/// Most values, keys not counted: ten thousand entries of twenty.
const VALUES: usize = 200_000;

/// Reads a body.
///
/// # Errors
/// [`Fault`], with the place where reading stopped; it repeats nothing of the body.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Fault> {
    let text =
        std::str::from_utf8(bytes).map_err(|e| Fault::new(Pointer::root(), format!("is not UTF-8 (at byte {})", e.valid_up_to())))?;
    // As Clouddriver's own reader does.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let reading = Reading { at: RefCell::new(Pointer::root()), problem: Cell::new(None), left: Cell::new(VALUES) };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Seed(&reading).deserialize(&mut deserializer).and_then(|v| deserializer.end().map(|()| v));
    read.map_err(|e| {
        let at = reading.at.into_inner();
        match reading.problem.get() {
            Some(problem) => Fault::new(at, problem),
            // The library's own words may quote.
            None if e.is_eof() => Fault::new(at, "ends before its JSON does"),
            None => Fault::new(at, format!("is not JSON (line {}, column {})", e.line(), e.column())),
        }
    })
}

struct Reading {
    at: RefCell<Pointer>,
    problem: Cell<Option<&'static str>>,
    left: Cell<usize>,
}

impl Reading {
    /// Ends the reading; the pointer stays where it is.
    fn stop<E: de::Error>(&self, problem: &'static str) -> E {
        self.problem.set(Some(problem));
        E::custom("")
    }

    fn text<E: de::Error>(&self, text: String) -> Result<String, E> {
        if text.contains('\0') { Err(self.stop("holds a NUL, which no database keeps")) } else { Ok(text) }
    }
}

/// Reads one value, and those within it.
#[derive(Clone, Copy)]
struct Seed<'a>(&'a Reading);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Value, E> {
        self.0.text(v.to_owned()).map(Value::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut items = Vec::new();
        loop {
            self.0.at.borrow_mut().push_index(items.len());
            let Some(item) = seq.next_element_seed(self)? else { break };
            self.0.at.borrow_mut().pop();
            self.count()?;
            items.push(item);
        }
        self.0.at.borrow_mut().pop();
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.0.at.borrow_mut().push_key(&key);
            let key = self.0.text(key)?;
            if fields.contains_key(&key) {
                return Err(self.0.stop("is there twice"));
            }
            let value = map.next_value_seed(self)?;
            self.0.at.borrow_mut().pop();
            self.count()?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

impl Seed<'_> {
    fn enter<E: de::Error>(self) -> Result<(), E> {
        if self.0.at.borrow().depth() >= DEPTH { Err(self.0.stop("is nested too deeply")) } else { Ok(()) }
    }

    fn count<E: de::Error>(self) -> Result<(), E> {
        match self.0.left.get().checked_sub(1) {
            Some(left) => {
                self.0.left.set(left);
                Ok(())
            }
            None => {
                *self.0.at.borrow_mut() = Pointer::root();
                Err(self.0.stop("holds more than 200000 values: send its entries in several requests"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(text: &str) -> String {
        parse(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn json_is_read_as_it_is() {
        for value in
            [json!([]), json!({}), json!(null), json!("x\r\n🦀"), json!([{"a": [1, -1, 1.5, u64::MAX, i64::MIN, true, null, {"b": {}}]}])]
        {
            assert_eq!(parse(value.to_string().as_bytes()).ok(), Some(value.clone()), "{value}");
            assert_eq!(parse(format!("\u{feff} {value}\n").as_bytes()).ok(), Some(value));
        }
    }

    #[test]
    fn what_is_no_json_is_refused_at_its_place_without_a_word_of_it() {
        for (text, expected) in [
            ("", "the body: ends before its JSON does"),
            ("[{\"name\":\"a\"}", "/1: ends before its JSON does"),
            ("[{\"name\":canary}]", "/0/name: is not JSON (line 1, column 10)"),
            ("[1] canary", "the body: is not JSON (line 1, column 5)"),
            ("{\"a\":1,\"a\":2}", "/a: is there twice"),
            ("[{\"b\":{\"a\":1,\"a\":2}}]", "/0/b/a: is there twice"),
            ("{\"a\":\"canary\\u0000\"}", "/a: holds a NUL, which no database keeps"),
            ("{\"canary of a secret\":canary}", "/…: is not JSON (line 1, column 23)"),
            ("{\"a\":\"\\ud800\"}", "/a: is not JSON (line 1, column 13)"),
            ("{\"a\":1e999}", "/a: is not JSON (line 1, column 10)"),
            ("name=canary", "the body: is not JSON (line 1, column 2)"),
        ] {
            assert_eq!(fault(text), expected, "{text}");
        }
        assert_eq!(parse(b"[\"\xff\"]").expect_err("not UTF-8").to_string(), "the body: is not UTF-8 (at byte 2)");
    }

    #[test]
    fn nesting_and_the_number_of_values_are_bounded() {
        assert!(parse(format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH)).as_bytes()).is_ok());
        for open in ["[", "{\"a\":"] {
            assert!(fault(&open.repeat(100_000)).ends_with(": is nested too deeply"));
        }
        assert_eq!(
            fault(&format!("[{}[]]", "[],".repeat(VALUES))),
            "the body: holds more than 200000 values: send its entries in several requests"
        );
    }
}
