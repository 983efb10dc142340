//! Changes one setting in a config file's text, and nothing else in it.

use toml_edit::{Document, DocumentMut, Item, TomlError, Value};

/// Where a setting stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// `None`: above all tables.
    pub(super) table: Option<&'static str>,
    pub(super) key: &'static str,
}

/// What the setting is in this text.
pub(super) fn value(document: &DocumentMut, place: Place) -> Option<&Value> {
    let item = match place.table {
        None => document.get(place.key),
        Some(table) => document.get(table)?.get(place.key),
    };
    item?.as_value()
}

/// The text with another value of the setting; without it for none.
pub(super) fn changed(text: &str, place: Place, value: Option<Value>) -> Result<String, TomlError> {
    match value {
        Some(value) => with(text, place, value),
        None => without(text, place),
    }
}

/// The line to write by hand, of a value that is to be there.
pub(super) fn line(place: Place, value: &Value) -> String {
    format!("{} = {}", place.key, value.clone().decorated("", ""))
}

fn with(text: &str, place: Place, mut value: Value) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let table = match place.table {
        None => Some(document.as_table_mut() as &mut dyn toml_edit::TableLike),
        Some(name) => match document.get_mut(name) {
            Some(table) => table.as_table_like_mut(),
            // Below the comments that end the file.
            None => {
                let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
                let apart = if text.is_empty() { "" } else { "\n" };
                return Ok(format!("{text}{end}{apart}[{name}]\n{}\n", line(place, &value)));
            }
        },
    };
    // What stands there and is no table is told by the check of the whole.
    let Some(table) = table else { return Ok(document.to_string()) };
    match table.get_mut(place.key).and_then(Item::as_value_mut) {
        Some(before) => {
            *value.decor_mut() = before.decor().clone();
            *before = value;
        }
        None => {
            table.insert(place.key, Item::Value(value));
        }
    }
    Ok(document.to_string())
}

/// Its whole line goes, and the comments above it stay.
fn without(text: &str, place: Place) -> Result<String, TomlError> {
    let document = Document::parse(text)?;
    let table = match place.table {
        None => Some(document.as_table() as &dyn toml_edit::TableLike),
        Some(name) => document.get(name).and_then(Item::as_table_like),
    };
    let Some((key, item)) = table.and_then(|table| table.get_key_value(place.key)) else {
        return Ok(text.to_owned());
    };
    let (Some(key), Some(item)) = (key.span(), item.span()) else { return removed(text, place) };
    let start = text[..key.start].rfind('\n').map_or(0, |end| end + 1);
    let end = text[item.end..].find('\n').map_or(text.len(), |end| item.end + end + 1);
    let rest = text[item.end..end].trim();
    // A table within braces has more on the line.
    let is_alone = rest.is_empty() || rest.starts_with('#');
    let begins = text[start..key.start].trim();
    if !is_alone
        || !(begins.is_empty() || begins == place.table.map_or(String::new(), |name| format!("{name}.")))
    {
        return removed(text, place);
    }
    Ok(format!("{}{}", &text[..start], &text[end..]))
}

fn removed(text: &str, place: Place) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let table = match place.table {
        None => Some(document.as_table_mut() as &mut dyn toml_edit::TableLike),
        Some(name) => document.get_mut(name).and_then(Item::as_table_like_mut),
    };
    if let Some(table) = table {
        table.remove(place.key);
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Place = Place { table: Some("economics"), key: "price_per_kwh" };
    const CURRENCY: Place = Place { table: Some("economics"), key: "currency" };
    const NAME: Place = Place { table: None, key: "worker_name" };

    const TEXT: &str = "# mine\nregistry = \"http://a\"   # there\nworker_name = 'old' # its name\n\n\
                        [agent] # tables\nlisten = \"127.0.0.1:1\"\n\n# money\n[economics]\n# dear\n\
                        price_per_kwh = 0.30 # since May\n# what is spent\ncurrency = \"EUR\"\n\n\
                        [[economics.tariff]]\nfrom = \"22:00\"\nto = \"06:00\"\nprice_per_kwh = 0.1\n# the end\n";

    fn set(text: &str, place: Place, value: impl Into<Value>) -> String {
        changed(text, place, Some(value.into())).unwrap()
    }

    fn unset(text: &str, place: Place) -> String {
        changed(text, place, None).unwrap()
    }

    #[test]
    fn a_change_leaves_everything_else_as_it_was() {
        assert_eq!(set(TEXT, PRICE, 0.4), TEXT.replace("0.30", "0.4"));
        assert_eq!(set(TEXT, NAME, "new"), TEXT.replace("'old'", "\"new\""));
        assert_eq!(unset(TEXT, PRICE), TEXT.replace("price_per_kwh = 0.30 # since May\n", ""));
        assert_eq!(unset(TEXT, CURRENCY), TEXT.replace("currency = \"EUR\"\n", ""));
        let idle = Place { table: Some("idle"), key: "enabled" };
        assert_eq!(set(TEXT, idle, true), format!("{TEXT}\n[idle]\nenabled = true\n"));
        assert_eq!(unset(TEXT, idle), TEXT);
        let path = Place { table: Some("agent"), key: "data" };
        assert_eq!(
            set(TEXT, path, "/data"),
            TEXT.replace("127.0.0.1:1\"\n", "127.0.0.1:1\"\ndata = \"/data\"\n")
        );
    }

    #[test]
    fn other_ways_to_write_a_table_are_kept() {
        for (before, after, without) in [
            ("economics.currency = 'EUR'\n", "economics.currency = \"USD\"\n", ""),
            (
                "economics = { currency = 'EUR' }\n",
                "economics = { currency = \"USD\" }\n",
                "economics = {}\n",
            ),
            (
                "economics = { currency = 'EUR', rate_at = 1970-01-01 } # x\n",
                "economics = { currency = \"USD\", rate_at = 1970-01-01 } # x\n",
                "economics = { rate_at = 1970-01-01 } # x\n",
            ),
            ("[economics]\ncurrency = 'EUR'", "[economics]\ncurrency = \"USD\"\n", "[economics]\n"),
            (
                "[economics]\n[agent]\n",
                "[economics]\ncurrency = \"USD\"\n[agent]\n",
                "[economics]\n[agent]\n",
            ),
        ] {
            assert_eq!(set(before, CURRENCY, "USD"), after, "{before}");
            assert_eq!(unset(before, CURRENCY), without, "{before}");
        }
        let tariff = "[[economics.tariff]]\nfrom = \"22:00\"\n";
        let priced = set(tariff, CURRENCY, "EUR");
        assert!(
            priced.parse::<DocumentMut>().is_ok() && unset(&priced, CURRENCY).ends_with(tariff),
            "{priced}"
        );
    }

    #[test]
    fn a_list_over_several_lines_goes_whole() {
        let command = Place { table: Some("idle"), key: "command" };
        let text = "[idle]\n# mine\ncommand = [\n    \"a\", # first\n    \"b\",\n] # done\nenabled = false\n";
        assert_eq!(unset(text, command), "[idle]\n# mine\nenabled = false\n");
        assert_eq!(set(text, command, "a b"), "[idle]\n# mine\ncommand = \"a b\" # done\nenabled = false\n");
        assert!(
            changed("[idle\n", command, None).is_err()
                && changed("[idle\n", command, Some(true.into())).is_err()
        );
    }
}
