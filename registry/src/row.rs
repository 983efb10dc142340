//! Columns as the types that they hold: one way from a row to ids, words and narrow numbers.

use std::error::Error as StdError;
use std::str::FromStr;

use pictor_protocol::FrameRange;
use sqlx::any::{Any, AnyRow, AnyTypeInfo, AnyValueRef};
use sqlx::error::BoxDynError;
use sqlx::{Decode, Row, Type};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// What a text column holds, in rows that are read as tuples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Parsed<T>(pub T);

impl<T> Type<Any> for Parsed<T> {
    fn type_info() -> AnyTypeInfo {
        <String as Type<Any>>::type_info()
    }

    fn compatible(ty: &AnyTypeInfo) -> bool {
        <String as Type<Any>>::compatible(ty)
    }
}

impl<'r, T> Decode<'r, Any> for Parsed<T>
where
    T: FromStr<Err: StdError + Send + Sync + 'static>,
{
    fn decode(value: AnyValueRef<'r>) -> std::result::Result<Parsed<T>, BoxDynError> {
        Ok(Parsed(<String as Decode<Any>>::decode(value)?.parse()?))
    }
}

/// A text column as the type that it holds.
pub fn parsed<T>(row: &AnyRow, column: &str) -> Result<T>
where
    T: FromStr<Err: StdError + Send + Sync + 'static>,
{
    Ok(row.try_get::<Parsed<T>, _>(column)?.0)
}

pub fn parsed_option<T>(row: &AnyRow, column: &str) -> Result<Option<T>>
where
    T: FromStr<Err: StdError + Send + Sync + 'static>,
{
    Ok(row.try_get::<Option<Parsed<T>>, _>(column)?.map(|Parsed(value)| value))
}

/// A BIGINT column as the narrower number that it was written from.
pub fn narrow<T>(row: &AnyRow, column: &str) -> Result<T>
where
    T: TryFrom<i64, Error: StdError + Send + Sync + 'static>,
{
    T::try_from(row.try_get::<i64, _>(column)?).map_err(|cause| unreadable(column, cause))
}

pub fn narrow_option<T>(row: &AnyRow, column: &str) -> Result<Option<T>>
where
    T: TryFrom<i64, Error: StdError + Send + Sync + 'static>,
{
    let wide: Option<i64> = row.try_get(column)?;
    wide.map(T::try_from).transpose().map_err(|cause| unreadable(column, cause))
}

/// A column of JSON.
pub fn json<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> Result<T> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|cause| unreadable(column, cause))
}

/// The frames of a task or a job.
pub fn frame_range(row: &AnyRow) -> Result<FrameRange> {
    FrameRange::new(narrow(row, "first_frame")?, narrow(row, "last_frame")?)
        .map_err(|cause| unreadable("first_frame", cause))
}

fn unreadable(column: &str, cause: impl StdError + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(cause) }
}
