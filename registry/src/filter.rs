//! A WHERE clause put together from fixed parts, with what they compare against as parameters.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::QueryAs;
use sqlx::{Any, AssertSqlSafe, FromRow};

#[derive(Debug, Clone)]
pub enum Value {
    Integer(i64),
    Number(f64),
    Text(String),
}

#[derive(Debug, Clone, Default)]
pub struct Filter {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Filter {
    pub fn fixed(&mut self, condition: &'static str) -> &mut Filter {
        self.conditions.push(condition.to_owned());
        self
    }

    /// `condition` is SQL in which each `$?` stands for `value`.
    pub fn text(&mut self, condition: &'static str, value: impl Into<String>) -> &mut Filter {
        self.push(condition, Value::Text(value.into()))
    }

    /// `condition` is SQL in which each `$?` stands for `value`.
    pub fn integer(&mut self, condition: &'static str, value: i64) -> &mut Filter {
        self.push(condition, Value::Integer(value))
    }

    /// `column` equals one of `values`.
    pub fn one_of(&mut self, column: &'static str, values: &[impl ToString]) -> &mut Filter {
        let places: Vec<String> = values
            .iter()
            .map(|value| {
                self.values.push(Value::Text(value.to_string()));
                format!("${}", self.values.len())
            })
            .collect();
        self.conditions.push(format!("{column} IN ({})", places.join(", ")));
        self
    }

    /// What comes after the row with this `key` and `id`, in the order of both.
    pub fn after(
        &mut self,
        (column, id_column): (&'static str, &'static str),
        is_descending: bool,
        key: Value,
        id: String,
    ) {
        let sign = if is_descending { '<' } else { '>' };
        self.values.push(key);
        let key = self.values.len();
        self.values.push(Value::Text(id));
        let id = self.values.len();
        self.conditions
            .push(format!("({column} {sign} ${key} OR ({column} = ${key} AND {id_column} {sign} ${id}))"));
    }

    fn push(&mut self, condition: &'static str, value: Value) -> &mut Filter {
        self.values.push(value);
        self.conditions.push(condition.replace("$?", &format!("${}", self.values.len())));
        self
    }

    /// `select`, the conditions, and what comes `after` them.
    pub fn query<T>(&self, select: &'static str, after: &'static str) -> Selected<T>
    where
        T: for<'r> FromRow<'r, AnyRow>,
    {
        self.select(format!("{select} WHERE {} {after}", self.conditions()))
    }

    /// As [`Filter::query`]; each `$?` of `select` stands for `value`.
    pub fn query_by<T>(&self, select: &'static str, value: i64, after: &'static str) -> Selected<T>
    where
        T: for<'r> FromRow<'r, AnyRow>,
    {
        let select = select.replace("$?", &format!("${}", self.values.len() + 1));
        self.select(format!("{select} WHERE {} {after}", self.conditions())).bind(value)
    }

    /// As [`Filter::query`], of the first `limit` rows.
    pub fn limited<T>(&self, select: &'static str, after: &str, limit: i64) -> Selected<T>
    where
        T: for<'r> FromRow<'r, AnyRow>,
    {
        self.select(format!("{select} WHERE {} {after} LIMIT ${}", self.conditions(), self.values.len() + 1))
            .bind(limit)
    }

    fn conditions(&self) -> String {
        if self.conditions.is_empty() { "1 = 1".to_owned() } else { self.conditions.join(" AND ") }
    }

    fn select<T>(&self, sql: String) -> Selected<T>
    where
        T: for<'r> FromRow<'r, AnyRow>,
    {
        // Safe: every part is a literal of this crate; what callers sent is only ever bound.
        let query = sqlx::query_as(AssertSqlSafe(sql));
        self.values.iter().fold(query, |query, value| match value {
            Value::Integer(value) => query.bind(*value),
            Value::Number(value) => query.bind(*value),
            Value::Text(value) => query.bind(value.clone()),
        })
    }
}

type Selected<T> = QueryAs<'static, Any, T, AnyArguments>;
