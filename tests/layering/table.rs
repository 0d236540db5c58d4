//! Reads ARCHITECTURE.md's table of modules, the only copy of it: which module may use which, and what the paragraph
//! below the table leaves to all of them.

use std::collections::{BTreeMap, BTreeSet};

/// What one module may use.
pub(crate) enum May {
    Use(BTreeSet<String>),
    AllBut(BTreeSet<String>),
}

pub(crate) struct Table {
    pub(crate) modules: BTreeMap<String, May>,
    /// What every module may use but those that are `apart`.
    pub(crate) shared: BTreeSet<String>,
    pub(crate) apart: BTreeSet<String>,
}

impl Table {
    /// Of the page's whole text.
    pub(crate) fn read(page: &str) -> Self {
        let mut lines = page.lines().skip_while(|line| *line != "| module | is | may use |");
        let rows: Vec<&str> = lines.by_ref().skip(2).take_while(|line| line.starts_with('|')).collect();
        let modules: BTreeMap<String, May> = rows.into_iter().map(row).collect();
        assert!(modules.len() > 8, "the table of modules has only {} rows", modules.len());
        for (name, may) in &modules {
            let (May::Use(others) | May::AllBut(others)) = may;
            let unknown = others.iter().find(|other| !modules.contains_key(*other));
            assert!(unknown.is_none(), "the row of `{name}` names {unknown:?}, which has no row");
        }
        let paragraph: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
        let (apart, shared): (BTreeSet<_>, BTreeSet<_>) =
            quoted(&paragraph.join("\n")).into_iter().partition(|name| modules.contains_key(name));
        assert!(shared.contains("error"), "the paragraph below the table does not say what all may use");
        Self { modules, shared, apart }
    }

    /// Whether `module` may name `other` of the library.
    pub(crate) fn allows(&self, module: &str, other: &str) -> bool {
        let by_row = match self.modules.get(module) {
            Some(May::Use(allowed)) => allowed.contains(other),
            Some(May::AllBut(refused)) => self.knows(other) && !refused.contains(other),
            None => false,
        };
        by_row || module == other || self.shared.contains(other) && !self.apart.contains(module)
    }

    pub(crate) fn knows(&self, name: &str) -> bool {
        self.modules.contains_key(name) || self.shared.contains(name)
    }
}

fn row(line: &str) -> (String, May) {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [name, _, may] = cells[..] else { panic!("not a row of three cells: {line}") };
    let list = |names: &str| names.split(", ").map(|name| name.trim_matches('`').to_owned()).collect();
    let may = match may.strip_prefix("not ") {
        Some(refused) => May::AllBut(list(refused)),
        None if may == "-" => May::Use(BTreeSet::new()),
        None => May::Use(list(may)),
    };
    (name.trim_matches('`').to_owned(), may)
}

fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
