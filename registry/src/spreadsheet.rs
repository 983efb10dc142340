//! Lists as CSV: fields quoted by RFC 4180, and none of them a formula to the spreadsheet that opens it.

use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::error::Result;

/// A column: what it is called, and how it reads in a row of this kind.
pub struct Column<T>(pub &'static str, pub fn(&T) -> String);

/// The names of the columns.
pub fn head<T>(columns: &[Column<T>]) -> Vec<String> {
    columns.iter().map(|Column(name, _)| (*name).to_owned()).collect()
}

/// One row.
pub fn row<T>(columns: &[Column<T>], of: &T) -> Vec<String> {
    columns.iter().map(|Column(_, read)| read(of)).collect()
}

/// What is not known is an empty field.
pub fn or_empty(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A download of `file_name` with these rows, the first of which names the columns.
pub fn download(file_name: &str, rows: impl IntoIterator<Item = Vec<String>>) -> Result<Response> {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{file_name}\"")),
    ];
    Ok((headers, text(rows)?).into_response())
}

/// The rows as text.
pub fn text(rows: impl IntoIterator<Item = Vec<String>>) -> Result<String> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        writer.write_record(row.iter().map(|field| harmless(field))).map_err(anyhow::Error::from)?;
    }
    let bytes = writer.into_inner().map_err(|cause| anyhow::anyhow!("{cause}"))?;
    Ok(String::from_utf8(bytes).map_err(anyhow::Error::from)?)
}

/// A number may begin with a minus.
fn harmless(field: &str) -> String {
    if field.parse::<f64>().is_ok() { field.to_owned() } else { guarded(field) }
}

/// What others wrote must not compute when a spreadsheet opens it.
fn guarded(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_field_stays_one_field_and_no_formula() {
        let row = ["a \"b\",\nc", "=1+1", "-1.5", "-cmd", ""].map(str::to_owned).to_vec();
        assert_eq!(text([row]).unwrap(), "\"a \"\"b\"\",\nc\",'=1+1,-1.5,'-cmd,\r\n");
    }
}
