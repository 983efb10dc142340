//! Statements put together from constants while the program is compiled: what an enum lists, its statements list.

/// Constant texts as one.
macro_rules! sql {
    (@text $parts:expr) => {{
        const BYTES: [u8; $crate::sql::length($parts)] = $crate::sql::joined($parts);
        const TEXT: &str = match std::str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("texts end where characters end"),
        };
        TEXT
    }};
    ($($part:expr),+ $(,)?) => {{
        const PARTS: &[&str] = &[$($part),+];
        $crate::sql::sql!(@text PARTS)
    }};
}

/// What is said of each of a status's words that belong to a set, with commas between.
macro_rules! each {
    ($status:ty, $belongs:path, |$word:ident| [$($piece:expr),+ $(,)?]) => {{
        const ALL: &[$status] = <$status>::ALL;
        const PIECES: usize = [$(stringify!($piece)),+].len();
        const PARTS: [&str; (PIECES + 1) * ALL.len()] = {
            let mut parts = [""; (PIECES + 1) * ALL.len()];
            let (mut at, mut next) = (0, 0);
            while at < ALL.len() {
                if $belongs(ALL[at]) {
                    let $word = ALL[at].as_str();
                    let pieces = [$($piece),+];
                    if next > 0 {
                        parts[next] = ", ";
                    }
                    next += 1;
                    let mut piece = 0;
                    while piece < PIECES {
                        parts[next] = pieces[piece];
                        next += 1;
                        piece += 1;
                    }
                }
                at += 1;
            }
            parts
        };
        $crate::sql::sql!(@text &PARTS)
    }};
}

/// A set of a status's words, as `IN` takes it.
macro_rules! set {
    ($status:ty, $belongs:path) => {
        $crate::sql::sql!("(", $crate::sql::each!($status, $belongs, |word| ["'", word, "'"]), ")")
    };
}

pub(crate) use {each, set, sql};

pub(crate) const fn length(parts: &[&str]) -> usize {
    let (mut sum, mut at) = (0, 0);
    while at < parts.len() {
        sum += parts[at].len();
        at += 1;
    }
    sum
}

pub(crate) const fn joined<const LENGTH: usize>(parts: &[&str]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let (mut at, mut next) = (0, 0);
    while at < parts.len() {
        let part = parts[at].as_bytes();
        let mut byte = 0;
        while byte < part.len() {
            bytes[next] = part[byte];
            next += 1;
            byte += 1;
        }
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use pictor_protocol::TaskStatus;

    #[test]
    fn what_an_enum_lists_its_statements_list() {
        let ended = crate::sql::set!(TaskStatus, TaskStatus::has_ended);
        assert_eq!(ended, "('completed', 'failed', 'cancelled')");
        let counts = crate::sql::each!(TaskStatus, TaskStatus::has_ended, |word| ["SUM(", word, ")"]);
        assert_eq!(counts, "SUM(completed), SUM(failed), SUM(cancelled)");
        assert_eq!(crate::sql::sql!("a ", ended_twice(), " c"), "a bé c");
    }

    const fn ended_twice() -> &'static str {
        "bé"
    }
}
