//! A WHERE clause put together from fixed parts, with what they compare against as parameters.

use pictor_protocol::{AccountId, WorkerId};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::QueryAs;
use sqlx::{Any, AssertSqlSafe, FromRow};

/// Whose rows are asked for.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    /// The whole network, for its operators.
    All,
    Account(AccountId),
    Worker {
        id: WorkerId,
        owner: AccountId,
    },
}

impl Of {
    pub fn account(account_id: Option<AccountId>) -> Of {
        account_id.map_or(Of::All, Of::Account)
    }

    /// Whose balance is shown with the figures: a worker's is its account's.
    pub(super) fn holder(self) -> Option<AccountId> {
        match self {
            Of::All => None,
            Of::Account(account) | Of::Worker { owner: account, .. } => Some(account),
        }
    }

    /// The rows of what counts for it, found by their account: both tables of figures and what they are
    /// folded from have an index that begins with it.
    pub(super) fn rows(self) -> Filter {
        let mut filter = Filter::default();
        match self {
            Of::All => filter.fixed("account_id IN (SELECT id FROM accounts)"),
            Of::Account(account) => filter.text("account_id = $?", account),
            Of::Worker { id, owner } => filter.text("account_id = $?", owner).text("worker_id = $?", id),
        };
        filter
    }
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Integer(i64),
    Number(f64),
    Text(String),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Filter {
    pub(super) fn fixed(&mut self, condition: &'static str) -> &mut Filter {
        self.conditions.push(condition.to_owned());
        self
    }

    /// `condition` is SQL in which each `$?` stands for `value`.
    pub(super) fn text(&mut self, condition: &'static str, value: impl Into<String>) -> &mut Filter {
        self.push(condition, Value::Text(value.into()))
    }

    /// `condition` is SQL in which each `$?` stands for `value`.
    pub(super) fn integer(&mut self, condition: &'static str, value: i64) -> &mut Filter {
        self.push(condition, Value::Integer(value))
    }

    /// `column` equals one of `values`.
    pub(super) fn one_of(&mut self, column: &'static str, values: &[impl ToString]) -> &mut Filter {
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
    pub(super) fn after(
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
    pub(super) fn query<T>(&self, select: &'static str, after: &'static str) -> Selected<T>
    where
        T: for<'r> FromRow<'r, AnyRow>,
    {
        self.select(format!("{select} WHERE {} {after}", self.conditions()))
    }

    /// As [`Filter::query`], of the first `limit` rows.
    pub(super) fn limited<T>(&self, select: &'static str, after: &str, limit: i64) -> Selected<T>
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
