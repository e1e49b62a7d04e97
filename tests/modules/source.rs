//! Which modules of a crate use which others, from the paths in its files.
//!
//! A module is a file; inline modules belong to the file that holds them. A path counts for the file that
//! defines its item: re-exports are followed. A re-export whose name its own file does not use counts for nothing.

use super::tokens::{is_word, tokens};
use std::collections::BTreeMap;

/// The modules of a crate.
pub(crate) struct Source {
    /// From the root to each module, as in `["loss", "pixel"]`; the root's is empty. Children stand behind
    /// their parents, and top-level modules in the order in which the root declares them.
    pub(crate) names: Vec<Vec<String>>,
    /// Each module's uses of others, `(user, used)`, in order and each once.
    pub(crate) uses: Vec<(usize, usize)>,
}

type Path = Vec<String>;

#[derive(Default)]
struct Module {
    name: Path,
    parent: usize,
    children: BTreeMap<String, usize>,
    /// What `use` declares: a name here, and what it means.
    declared: BTreeMap<String, Path>,
    /// Paths that the module depends on.
    paths: Vec<Path>,
}

impl Source {
    /// Reads the crate whose root is `lib.rs`; `file` gives a file's text, if there is such a file.
    ///
    /// # Panics
    /// When a module has no file.
    pub(crate) fn read(file: impl Fn(&str) -> Option<String>) -> Source {
        let mut modules = Vec::new();
        add(Module::default(), None, &file, &mut modules);
        let mut uses = Vec::new();
        for (user, module) in modules.iter().enumerate() {
            let used = module
                .paths
                .iter()
                .filter_map(|path| resolve(&modules, user, path));
            uses.extend(used.filter(|&used| used != user).map(|used| (user, used)));
        }
        uses.sort_unstable();
        uses.dedup();
        let names = modules.into_iter().map(|module| module.name).collect();
        Source { names, uses }
    }
}

/// Adds a module and its children. The module's file is `path`, or the one that its name leads to.
fn add(
    mut module: Module,
    path: Option<String>,
    file: &impl Fn(&str) -> Option<String>,
    modules: &mut Vec<Module>,
) {
    let name = module.name.join("/");
    let usual = match module.name.is_empty() {
        true => vec!["lib.rs".to_string()],
        false => vec![format!("{name}.rs"), format!("{name}/mod.rs")],
    };
    let mut files = path.into_iter().chain(usual);
    let found = files.find_map(|path| file(&path).map(|text| (path, text)));
    let (path, text) = found.unwrap_or_else(|| panic!("no file for the module {name}"));
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let tokens = tokens(&text);
    let own = modules.len();
    let children = children(&tokens, folder);
    module.children = children.iter().map(|(name, _)| (name.clone(), 0)).collect();
    Reader::new(&tokens, &mut module).read();
    modules.push(module);
    for (child, path) in children {
        let number = modules.len();
        let mut name = modules[own].name.clone();
        name.push(child.clone());
        modules[own].children.insert(child, number);
        let module = Module {
            name,
            parent: own,
            ..Module::default()
        };
        add(module, path, file, modules);
    }
}

/// The modules that a file in this folder declares, each with its file where `#[path]` names that.
fn children(tokens: &[String], folder: &str) -> Vec<(String, Option<String>)> {
    let mut children = Vec::new();
    for at in 0..tokens.len().saturating_sub(2) {
        if tokens[at] != "mod" || tokens[at + 2] != ";" {
            continue;
        }
        let attributes = tokens[..at].rsplitn(2, |t| [";", "}", "{"].contains(&t.as_str()));
        let attributes = attributes.into_iter().next().unwrap_or_default();
        let mut named = attributes
            .windows(3)
            .filter(|w| w[0] == "path" && w[1] == "=");
        let path = named
            .next()
            .map(|w| format!("{folder}/{}", w[2].trim_matches('"')));
        let path = path.map(|path| path.trim_start_matches('/').to_string());
        children.push((tokens[at + 1].clone(), path));
    }
    children
}

/// Finds what a module declares and the paths it depends on.
struct Reader<'a> {
    tokens: &'a [String],
    module: &'a mut Module,
    at: usize,
    depth: usize,
    /// The depths at which inline modules stand.
    inline: Vec<usize>,
    /// Names that are re-exported, and their tokens.
    reexports: Vec<(String, std::ops::Range<usize>)>,
}

impl<'a> Reader<'a> {
    fn new(tokens: &'a [String], module: &'a mut Module) -> Reader<'a> {
        Reader {
            tokens,
            module,
            at: 0,
            depth: 0,
            inline: Vec::new(),
            reexports: Vec::new(),
        }
    }

    fn token(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).map_or("", String::as_str)
    }

    fn read(mut self) {
        while self.at < self.tokens.len() {
            match self.token(0) {
                // `use<>` of an opaque type is no declaration.
                "use" if self.token(1) != "<" => {
                    self.declaration();
                    continue;
                }
                // In a macro its name may be an argument.
                "mod" if "{" == self.token(if self.token(1) == "$" { 3 } else { 2 }) => {
                    self.inline.push(self.depth);
                }
                "{" => self.depth += 1,
                "}" => {
                    self.depth -= 1;
                    self.inline.pop_if(|depth| *depth == self.depth);
                }
                _ => self.path(),
            }
            self.at += 1;
        }
        for (name, place) in self.reexports {
            // A module may have the name of its item.
            let used = |i: usize| self.tokens[i] == name && (i == 0 || self.tokens[i - 1] != "mod");
            if (0..self.tokens.len()).any(|i| !place.contains(&i) && used(i)) {
                self.module.paths.push(self.module.declared[&name].clone());
            }
        }
    }

    /// A path in the code, if one starts here: from the crate's root, from here, or from a child.
    fn path(&mut self) {
        let first = self.token(0);
        let starts = ["crate", "self", "super"].contains(&first);
        let behind = self
            .at
            .checked_sub(1)
            .map(|before| self.tokens[before].as_str());
        // `pub(in path)` says who may use an item, and uses nothing.
        let seen_in = || {
            self.tokens[..self.at]
                .iter()
                .rev()
                .take(3)
                .eq(["in", "(", "pub"])
        };
        if !(starts || self.module.children.contains_key(first))
            || self.token(1) != "::"
            || behind == Some("::")
            || seen_in()
        {
            return;
        }
        let mut path = vec![first.to_string()];
        while self.token(1) == "::" && is_word(self.token(2)) {
            path.push(self.token(2).to_string());
            self.at += 2;
        }
        let path = self.outside(path);
        self.module.paths.push(path);
    }

    /// `use` and what follows it.
    fn declaration(&mut self) {
        let start = self.at;
        let public = start > 0 && ["pub", ")"].contains(&self.tokens[start - 1].as_str());
        self.at += 1;
        let mut found = Vec::new();
        self.tree(&[], &mut found);
        for (name, path) in found {
            let path = self.outside(path);
            match public {
                true => self.reexports.push((name.clone(), start..self.at)),
                false => self.module.paths.push(path.clone()),
            }
            if self.inline.is_empty() {
                self.module.declared.insert(name, path);
            }
        }
    }

    /// The paths of a tree of `use`, each with the name that it has here.
    fn tree(&mut self, prefix: &[String], found: &mut Vec<(String, Path)>) {
        let mut path = prefix.to_vec();
        loop {
            let token = self.token(0);
            match token {
                "{" => {
                    self.at += 1;
                    while self.token(0) != "}" {
                        self.tree(&path, found);
                        self.at += usize::from(self.token(0) == ",");
                    }
                    self.at += 1;
                    return;
                }
                "as" => {
                    found.push((self.token(1).to_string(), path));
                    self.at += 2;
                    return;
                }
                ";" | "," | "}" | "" => {
                    path.pop_if(|last| last == "self");
                    found.push((path.last().cloned().unwrap_or_default(), path));
                    return;
                }
                "::" => {}
                part => path.push(part.to_string()),
            }
            self.at += 1;
        }
    }

    /// A path as the file means it: each inline module around it takes one `super`.
    fn outside(&self, mut path: Path) -> Path {
        let supers = path.iter().take_while(|part| *part == "super").count();
        path.drain(..supers.min(self.inline.len()));
        path
    }
}

/// The module that defines what a path means in another; none where that is outside of the crate.
fn resolve(modules: &[Module], from: usize, path: &[String]) -> Option<usize> {
    let mut at = from;
    for (i, part) in path.iter().enumerate() {
        let module = &modules[at];
        at = match part.as_str() {
            "crate" => 0,
            "self" => at,
            "super" => module.parent,
            _ if module.children.contains_key(part) => module.children[part],
            // What another crate is called, or an item of this file.
            _ if i == 0 => return None,
            _ => match module.declared.get(part) {
                Some(target) => {
                    let target = [&target[..], &path[i + 1..]].concat();
                    return resolve(modules, at, &target);
                }
                None => return Some(at),
            },
        };
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(files: &[(&str, &str)]) -> Vec<String> {
        let file = |path: &str| {
            let found = files.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| text.to_string())
        };
        let source = Source::read(file);
        let name = |i: usize| source.names[i].join("::");
        let uses = source.uses.iter();
        uses.map(|&(user, used)| format!("{} > {}", name(user), name(used)))
            .collect()
    }

    #[test]
    fn paths_lead_to_the_files_that_define_their_items() {
        let found = uses(&[
            (
                "lib.rs",
                "#[path = \"c/a.rs\"] pub mod a; mod b; pub use b::deep::Thing;",
            ),
            (
                "c/a.rs",
                "use crate::{b::{Other, own as mine}, Thing as T}; use std::fs; fn f() -> impl A + use<> {}",
            ),
            (
                "b/mod.rs",
                "mod deep; mod side; pub use deep::{Other}; pub fn own() { side::go() }",
            ),
            (
                "b/deep.rs",
                "mod inner { use super::super::side::x; } use super::side; struct Thing; struct Other;",
            ),
            (
                "b/side.rs",
                "#[cfg(test)] mod tests { use crate::a; } fn go() { crate::a::f(super::own()) }",
            ),
        ]);
        let expected = [
            "a > b",
            "a > b::deep",
            "b > b::side",
            "b::deep > b::side",
            "b::side > a",
            "b::side > b",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn neither_visibility_nor_a_module_within_a_file_is_a_use() {
        let found = uses(&[
            ("lib.rs", "mod a;"),
            (
                "a.rs",
                "macro_rules! m { ($m:ident) => { mod $m { use super::*; pub(in crate::a) fn f() {} } } }",
            ),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_re_export_counts_where_its_file_uses_the_name() {
        let lib = ("lib.rs", "mod a;");
        let child = ("a/b.rs", "pub struct B;");
        assert!(uses(&[lib, child, ("a/mod.rs", "mod b; pub use b::B;")]).is_empty());
        let found = uses(&[
            lib,
            child,
            ("a/mod.rs", "mod b; pub use b::B; fn f(_: B) {}"),
        ]);
        assert_eq!(found, ["a > a::b"]);
    }
}
