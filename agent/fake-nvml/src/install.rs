//! Puts a library and its script where a test wants them.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::script::Script;

/// A library of one test. Its script can be changed while an agent uses it.
pub struct Fake {
    pub library: PathBuf,
    script: Table,
}

impl Fake {
    /// A library in this folder that answers by this script.
    ///
    /// # Panics
    /// When the script is none, or the folder cannot be written to: a test can do nothing else.
    #[must_use]
    pub fn install(folder: &Path, script: &str) -> Fake {
        let script: Table = script.parse().unwrap_or_else(|error| panic!("no TOML: {error}"));
        let built = built();
        let mut image = fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        let hidden = script.get("hidden_symbols").and_then(Value::as_array).into_iter().flatten();
        hide(&mut image, &hidden.filter_map(Value::as_str).collect::<Vec<_>>());
        let library = folder.join("libnvidia-ml.so.1");
        fs::write(&library, image).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
        let fake = Fake { library, script };
        fake.write();
        fake
    }

    /// Changes the script. The library sees all of the change or nothing of it.
    ///
    /// # Panics
    /// When what comes out is no script.
    pub fn change(&mut self, change: impl FnOnce(&mut Table)) {
        change(&mut self.script);
        self.write();
    }

    /// Sets one key of one GPU, which may lie deeper: `utilization_percent.gpu`.
    ///
    /// # Panics
    /// When there is no such GPU or what comes out is no script.
    pub fn set(&mut self, gpu: usize, key: &str, value: impl Into<Value>) {
        self.change(|script| {
            let gpu = script.get_mut("gpu").and_then(|gpus| gpus.get_mut(gpu)).and_then(Value::as_table_mut);
            let mut table = gpu.unwrap_or_else(|| panic!("there is no such GPU"));
            let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
            for part in path.split('.').filter(|part| !part.is_empty()) {
                let inner = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
                table = inner.as_table_mut().unwrap_or_else(|| panic!("{part} is no table"));
            }
            table.insert(last.to_owned(), value.into());
        });
    }

    /// A GPU's uuid.
    ///
    /// # Panics
    /// When there is no such GPU.
    #[must_use]
    pub fn uuid(&self, gpu: usize) -> String {
        let uuid = self.script.get("gpu").and_then(|gpus| gpus.get(gpu)?.get("uuid")?.as_str());
        uuid.unwrap_or_else(|| panic!("there is no such GPU")).to_owned()
    }

    fn write(&self) {
        let text = self.script.to_string();
        Script::parse(&text).unwrap_or_else(|error| panic!("no script: {error}"));
        let mut script = self.library.clone().into_os_string();
        script.push(".toml");
        let new = self.library.with_extension("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &script))
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Cargo builds it beside the program that depends on it.
fn built() -> PathBuf {
    let program = env::current_exe().unwrap_or_else(|error| panic!("{error}"));
    program.with_file_name("libfake_nvml.so")
}

/// Makes symbols ones that nobody can ask for, by writing over their names. The dynamic linker compares names in the
/// end, whatever its hash table says, so what is asked for is not found: as in a library of an older driver.
fn hide(image: &mut [u8], symbols: &[&str]) {
    let mut found = BTreeSet::new();
    for text in image.split_mut(|byte| *byte == 0) {
        if let Some(symbol) = symbols.iter().find(|symbol| symbol.as_bytes() == text) {
            found.insert(*symbol);
            text[0] = b'-';
        }
    }
    for symbol in symbols {
        assert!(found.contains(symbol), "the fake NVML has no {symbol} to hide");
    }
}
