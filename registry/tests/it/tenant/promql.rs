//! PromQL made by chance: well-formed, and full of attempts to name what is somebody else's.

use crate::network::Dice;

const METRICS: [&str; 7] = [
    "pictor_gpu_power_watts",
    "pictor_tasks_total",
    "pictor_task_phase_seconds_bucket",
    "up",
    "pictor_theirs_only",
    "pictor_registry_tasks",
    "pictor_none",
];
const LABELS: [&str; 5] = ["account", "worker_id", "gpu", "result", "le"];
const DURATIONS: [&str; 5] = ["1m", "150s", "5m", "10m30s", "1h"];

pub(super) struct Promql<'a> {
    pub(super) dice: Dice,
    pub(super) ours: &'a str,
    pub(super) theirs: &'a str,
}

impl Promql<'_> {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.dice.below(of.len() as u64)).unwrap()]
    }

    fn chance(&mut self, of: u64) -> bool {
        self.dice.below(of) == 0
    }

    /// What PromQL takes between two words.
    fn space(&mut self) -> &'static str {
        self.one(&[" ", "", "\n", "\t ", " # {account=\"x\"} (\n"])
    }

    pub(super) fn query(&mut self) -> String {
        match self.dice.below(12) {
            0 => self.scalar(2),
            1 => format!("absent({})", self.selector()),
            2 => format!("absent_over_time({})", self.range(1)),
            3 => self.one(&["\"up{}\"", "'}'", "1+1", "Inf", "-NaN", "0x1f", "`up`"]).to_owned(),
            _ => self.vector(3),
        }
    }

    fn matcher(&mut self) -> String {
        let (ours, theirs) = (self.ours, self.theirs);
        match self.dice.below(14) {
            0 => format!("account=\"{theirs}\""),
            1 => format!("account=~\"{theirs}|{ours}\""),
            2 => format!("account!='{ours}'"),
            3 => "account=~`.*`".to_owned(),
            4 => "account=\"\"".to_owned(),
            5 => format!("account!~\"{ours}.*\""),
            6 => "worker_id=~\".+\"".to_owned(),
            7 => "worker_id=\"theirs-1\"".to_owned(),
            8 => "worker_id!=\"\"".to_owned(),
            9 => "gpu=~\"0|1\"".to_owned(),
            10 => "result!=\"failed\"".to_owned(),
            11 => format!("gpu!=\"}} or up{{account=\\\"{theirs}\\\"\""),
            12 => "le=~\"[0-9.]+|\\\\+Inf\"".to_owned(),
            _ => "none!='\\'{\"'".to_owned(),
        }
    }

    fn matchers(&mut self, first: &str) -> String {
        let mut all: Vec<String> = Vec::new();
        if !first.is_empty() {
            all.push(first.to_owned());
        }
        for _ in 0..self.dice.below(3) {
            all.push(self.matcher());
        }
        let between = format!(",{}", self.space());
        format!("{{{}{}}}", all.join(&between), self.one(&["", " "]))
    }

    fn series(&mut self) -> String {
        let name = self.one(&METRICS);
        match self.dice.below(6) {
            0 => self.matchers(&format!("__name__=\"{name}\"")),
            1 => self.matchers("__name__=~\".+\""),
            2 => self.matchers("__name__=~\"pictor_.*|up\""),
            3 => name.to_owned(),
            _ => format!("{name}{}{}", self.space(), self.matchers("")),
        }
    }

    fn moment(&mut self) -> String {
        let end = super::prometheus::END_SECONDS;
        match self.dice.below(12) {
            0 => " offset 5m".to_owned(),
            1 => " offset -1m".to_owned(),
            2 => format!(" @ {}", end - 300),
            3 => " @ end()".to_owned(),
            4 => " @ start() offset 1m".to_owned(),
            _ => String::new(),
        }
    }

    fn selector(&mut self) -> String {
        format!("{}{}", self.series(), self.moment())
    }

    fn range(&mut self, depth: u32) -> String {
        if depth > 0 && self.chance(3) {
            let step = self.one(&["", "30s", "1m"]);
            return format!("({})[{}:{step}]{}", self.vector(depth - 1), self.one(&DURATIONS), self.moment());
        }
        format!("{}[{}]{}", self.series(), self.one(&DURATIONS), self.moment())
    }

    fn scalar(&mut self, depth: u32) -> String {
        match self.dice.below(6) {
            0 if depth > 0 => format!("scalar({})", self.vector(depth - 1)),
            1 if depth > 0 => format!("scalar(sum({}))", self.vector(depth - 1)),
            2 if depth > 0 => {
                let operator = self.one(&["+", "-", "*", "/", "%", "^", "> bool", "== bool"]);
                format!("({} {operator} {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
            3 => format!("{}1.5e1", self.one(&["", "-", "+"])),
            4 => "0.5".to_owned(),
            _ => self.dice.below(4).to_string(),
        }
    }

    fn labels(&mut self) -> String {
        let mut all = Vec::new();
        for _ in 0..self.dice.below(3) {
            all.push(self.one(&LABELS));
        }
        format!("({})", all.join(", "))
    }

    fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.selector();
        }
        match self.dice.below(12) {
            0 => self.selector(),
            1 | 2 => self.aggregate(depth - 1),
            3 | 4 => self.binary(depth - 1),
            5 | 6 => self.over_time(depth - 1),
            7 => self.relabelled(depth - 1),
            8 => format!("{}({}{})", self.space(), self.vector(depth - 1), self.space()),
            9 => format!("{}{}", self.one(&["-", "+", "--"]), self.vector(depth - 1)),
            10 => format!("vector({})", self.scalar(depth - 1)),
            _ => self.function(depth - 1),
        }
    }

    fn aggregate(&mut self, depth: u32) -> String {
        let inner = self.vector(depth);
        let grouping = match self.dice.below(3) {
            0 => format!(" by {}", self.labels()),
            1 => format!(" without {}", self.labels()),
            _ => String::new(),
        };
        let (operator, parameter) = match self.dice.below(8) {
            // More than there are: which of equals is taken is nobody's promise.
            0 => ("topk", format!("1e6 + {}, ", self.scalar(depth))),
            1 => ("bottomk", format!("1e6 + {}, ", self.scalar(depth))),
            2 => ("quantile", format!("{}, ", self.scalar(depth))),
            3 => ("count_values", format!("\"{}\", ", self.one(&LABELS))),
            _ => (self.one(&["sum", "count", "min", "max", "avg", "group"]), String::new()),
        };
        if self.chance(2) {
            format!("{operator}{grouping} ({parameter}{inner})")
        } else {
            format!("{operator}({parameter}{inner}){grouping}")
        }
    }

    fn binary(&mut self, depth: u32) -> String {
        let (left, right) = (self.vector(depth), self.vector(depth));
        if self.chance(3) {
            let matching = self.one(&["", " on (worker_id)", " ignoring (result, le)", " on ()"]);
            return format!("{left} {}{matching} {right}", self.one(&["or", "and", "unless", "OR"]));
        }
        let operator = self.one(&["+", "-", "*", "/", ">", "<= bool", "!=", "atan2", "^", "%"]);
        let matching = match self.dice.below(4) {
            0 => format!(" on {}", self.labels()),
            1 => " on (worker_id) group_left ()".to_owned(),
            2 => " ignoring (gpu) group_right (result)".to_owned(),
            _ => return format!("{left} {operator} {}", self.scalar(depth)),
        };
        format!("{left} {operator}{matching} {right}")
    }

    fn over_time(&mut self, depth: u32) -> String {
        let functions =
            ["rate", "increase", "max_over_time", "sum_over_time", "last_over_time", "changes", "delta"];
        if self.chance(6) {
            return format!("quantile_over_time({}, {})", self.scalar(depth), self.range(depth));
        }
        format!("{}({})", self.one(&functions), self.range(depth))
    }

    fn relabelled(&mut self, depth: u32) -> String {
        let (inner, theirs) = (self.vector(depth), self.theirs);
        match self.dice.below(3) {
            0 => format!("label_replace({inner}, \"account\", \"{theirs}\", \"\", \"\")"),
            1 => format!("label_replace({inner}, \"gpu\", \"$1\", \"worker_id\", \"(.*)\")"),
            _ => format!("label_join({inner}, \"account\", \"}}{{\", \"account\", \"worker_id\")"),
        }
    }

    fn function(&mut self, depth: u32) -> String {
        let inner = self.vector(depth);
        match self.dice.below(5) {
            0 => format!("clamp({inner}, {}, {})", self.scalar(depth), self.scalar(depth)),
            1 => format!("histogram_quantile({}, {inner})", self.scalar(depth)),
            2 => format!("round({inner}, {})", self.scalar(depth)),
            3 => format!("clamp_max({inner}, {})", self.scalar(depth)),
            _ => format!("{}({inner})", self.one(&["abs", "sgn", "ceil", "timestamp", "sort"])),
        }
    }
}
