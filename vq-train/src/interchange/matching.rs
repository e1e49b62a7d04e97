//! Which tensor of a file is which parameter: by a map, by name, by order.
//!
//! What the map names is taken first. Of the rest, encoder and decoder are matched each on its own: by
//! name when all names and shapes agree, else module by module in the order of their numbers, which is that
//! of a `nn.Sequential`. Where names are words, which have no order, shapes have to decide. Nothing is
//! guessed: what could be two things is an error.

use super::compare::{below, fits, natural, transposed};
use super::faults::Faults;
use super::names::Names;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// A name and its shape in PyTorch's order.
pub(super) type Named = (String, Vec<usize>);

/// Both sides of a model, matched apart from each other.
const SIDES: [&str; 2] = ["encoder", "decoder"];
/// The ends of usual names of codebooks, without underscores around them.
const CODEBOOKS: [&[&str]; 6] = [
    &["embedding", "weight"],
    &["codebook", "weight"],
    &["embed", "weight"],
    &["codebook"],
    &["embedding"],
    &["embed"],
];
/// Counts batches for PyTorch's batch normalisation; no parameter.
const COUNTER: &str = "num_batches_tracked";

/// Where a parameter comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    Tensor(String),
    /// A codebook that is kept as `[D, K]`.
    Transposed(String),
    Zeros,
    Ones,
    /// What the parameter in this place has.
    Copy(usize),
}

/// A source for each of our parameters.
#[derive(Debug)]
pub(super) struct Pairing {
    pub(super) sources: Vec<Source>,
    pub(super) unused: Vec<String>,
}

/// Finds a source for each of `ours` among `theirs`.
pub(super) fn pair(
    ours: &[Named],
    theirs: &BTreeMap<String, Vec<usize>>,
    names: &Names,
) -> Result<Pairing, Faults> {
    let mut matcher = Matcher {
        ours,
        theirs,
        sources: vec![None; ours.len()],
        used: BTreeSet::new(),
        faults: Faults::default(),
    };
    matcher.by_map(names);
    if matcher.faults.any() {
        return Err(matcher.faults);
    }
    for side in SIDES {
        matcher.side(side, names.0.get(side).map(String::as_str));
    }
    matcher.quantizer();
    matcher.finish()
}

struct Matcher<'a> {
    ours: &'a [Named],
    theirs: &'a BTreeMap<String, Vec<usize>>,
    sources: Vec<Option<Source>>,
    used: BTreeSet<&'a str>,
    faults: Faults,
}

/// Tensors that belong together: a layer's weight, bias and whatever else it has.
struct Module<'a> {
    name: &'a str,
    tensors: Vec<Tensor<'a>>,
}

#[derive(Clone, Copy)]
struct Tensor<'a> {
    /// What follows the module's name.
    leaf: &'a str,
    name: &'a str,
    shape: &'a [usize],
}

impl<'a> Matcher<'a> {
    fn by_map(&mut self, names: &Names) {
        for (ours, theirs) in &names.0 {
            if SIDES.contains(&ours.as_str()) {
                continue;
            }
            let mut known = false;
            for i in 0..self.ours.len() {
                let Some(rest) = self.ours[i].0.strip_prefix(ours.as_str()) else {
                    continue;
                };
                if rest.is_empty() || rest.starts_with('.') {
                    known = true;
                    self.mapped(i, &format!("{theirs}{rest}"), rest == ".bias");
                }
            }
            if !known {
                let line = format!("{ours}, which the map names, is no parameter of the model");
                self.faults.missing.push(line);
            }
        }
    }

    fn mapped(&mut self, i: usize, theirs: &str, optional: bool) {
        match self.theirs.get_key_value(theirs) {
            Some((name, _)) => self.take(i, name),
            None if optional => self.sources[i] = Some(Source::Zeros),
            None => {
                let ours = &self.ours[i].0;
                let line = format!("{ours}: the file has no {theirs}, which the map names");
                self.faults.missing.push(line);
            }
        }
    }

    /// Takes a tensor for a parameter, if its shape allows.
    fn take(&mut self, i: usize, theirs: &'a str) {
        let (name, shape) = &self.ours[i];
        let other = &self.theirs[theirs];
        let source = match fits(shape, other) {
            true => Source::Tensor(theirs.into()),
            false if codebook(name) && transposed(shape, other) => {
                Source::Transposed(theirs.into())
            }
            false => {
                let line = format!("{name} is {shape:?}, {theirs} is {other:?}");
                return self.faults.other_shape.push(line);
            }
        };
        self.sources[i] = Some(source);
        self.used.insert(theirs);
    }

    fn open(&self, prefix: &str) -> Vec<usize> {
        let range = 0..self.ours.len();
        let open = range.filter(|&i| self.sources[i].is_none());
        open.filter(|&i| self.ours[i].0.starts_with(prefix))
            .collect()
    }

    /// The rest of a side; `alias` is what the map calls it.
    fn side(&mut self, side: &str, alias: Option<&str>) {
        let ours = self.open(&format!("{side}."));
        if ours.is_empty() {
            return;
        }
        // The name of each tensor from the side's own name on.
        let inner = |name: &'a str| match alias {
            Some(alias) => name.strip_prefix(alias)?.strip_prefix('.'),
            None => below(name, side),
        };
        let candidates = self.theirs.keys().map(String::as_str);
        let theirs: Vec<(&'a str, &'a str)> = candidates
            .filter(|name| !self.used.contains(name) && !name.ends_with(COUNTER))
            .filter_map(|name| Some((inner(name)?, name)))
            .collect();
        if let Some(pairs) = self.by_name(side, &ours, &theirs) {
            return pairs.into_iter().for_each(|(i, name)| self.take(i, name));
        }
        let (table, file) = (self.ours, self.theirs);
        let ours = modules(ours.iter().map(|&i| (&table[i].0[..], &table[i].1[..])));
        let mut theirs = modules(theirs.iter().map(|(_, name)| (*name, &file[*name][..])));
        theirs.sort_by(|a, b| natural(a.name, b.name).0);
        let ordered = theirs.windows(2).all(|w| natural(w[0].name, w[1].name).1);
        if ordered {
            self.by_order(&ours, &theirs);
        } else {
            self.by_shape(&ours, &theirs);
        }
    }

    /// The pairs, if names and shapes agree and nothing is left over.
    fn by_name(
        &self,
        side: &str,
        ours: &[usize],
        theirs: &[(&str, &'a str)],
    ) -> Option<Vec<(usize, &'a str)>> {
        let named: BTreeMap<&str, &'a str> = theirs.iter().copied().collect();
        if ours.len() != theirs.len() {
            return None;
        }
        let find = |&i: &usize| {
            let (name, shape) = &self.ours[i];
            let theirs = named.get(&name[side.len() + 1..])?;
            fits(shape, &self.theirs[*theirs]).then_some((i, *theirs))
        };
        ours.iter().map(find).collect()
    }

    fn by_order(&mut self, ours: &[Module<'a>], theirs: &[Module<'a>]) {
        let (mut a, mut b) = (ours, theirs);
        while let (Some((our, more_ours)), Some((their, more_theirs))) =
            (a.split_first(), b.split_first())
        {
            // Where one list is longer, the first pair that does not fit shows what it has too much.
            match (our.takes(their), a.len().cmp(&b.len())) {
                (true, _) => self.take_module(our, their),
                (false, Ordering::Greater) => {
                    self.faults.missing.push(our.describe());
                    a = more_ours;
                    continue;
                }
                (false, Ordering::Less) => {
                    self.faults.left_over.push(their.describe());
                    b = more_theirs;
                    continue;
                }
                (false, Ordering::Equal) => {
                    let line = format!("{}; in its place is {}", our.describe(), their.describe());
                    self.faults.other_shape.push(line);
                }
            }
            (a, b) = (more_ours, more_theirs);
        }
        self.faults.missing.extend(a.iter().map(Module::describe));
        self.faults.left_over.extend(b.iter().map(Module::describe));
    }

    fn by_shape(&mut self, ours: &[Module<'a>], theirs: &[Module<'a>]) {
        let mut taken = BTreeSet::new();
        for our in ours {
            let fitting: Vec<_> = theirs.iter().filter(|t| our.takes(t)).collect();
            match fitting[..] {
                [] => self.faults.missing.push(our.describe()),
                [their] if taken.insert(their.name) => self.take_module(our, their),
                _ => {
                    let names: Vec<_> = fitting.iter().map(|t| t.name).collect();
                    let line = format!("{} could be {}", our.describe(), names.join(" or "));
                    self.faults.ambiguous.push(line);
                    taken.extend(names);
                }
            }
        }
        let rest = theirs.iter().filter(|t| !taken.contains(t.name));
        self.faults.left_over.extend(rest.map(Module::describe));
    }

    fn take_module(&mut self, ours: &Module<'a>, theirs: &Module<'a>) {
        for our in &ours.tensors {
            let place = self.ours.iter().position(|(n, _)| n == our.name);
            let i = place.expect("modules are made of these");
            match theirs.find(our.leaf) {
                Some(tensor) => self.take(i, tensor.name),
                None => self.sources[i] = Some(Source::Zeros),
            }
        }
    }

    /// What the quantiser keeps: the codebook under its own name or a usual one; running statistics start
    /// as if each code had been chosen once.
    fn quantizer(&mut self) {
        for i in self.open("quantizer.") {
            let name = self.ours[i].0.as_str();
            let (module, leaf) = name.rsplit_once('.').expect("the prefix has a dot");
            let has = |leaf: &str| self.theirs.get_key_value(&format!("{module}.{leaf}"));
            let place = |leaf: &str| {
                let name = format!("{module}.{leaf}");
                self.ours.iter().position(|(n, _)| *n == name)
            };
            // Counts and sums make sense only together.
            let whole = ["counts", "sums"]
                .iter()
                .all(|s| place(s).is_none() || has(s).is_some());
            let found = match leaf {
                "counts" | "sums" if !whole => None,
                _ => has(leaf),
            };
            match (found, leaf) {
                (Some((theirs, _)), _) => self.take(i, theirs),
                (None, "codebook") => self.find_codebook(i),
                (None, "counts") => self.sources[i] = Some(Source::Ones),
                (None, "sums") => self.sources[i] = place("codebook").map(Source::Copy),
                (None, "steps") => self.sources[i] = Some(Source::Zeros),
                (None, _) => self.faults.missing.push(name.into()),
            }
        }
    }

    fn find_codebook(&mut self, i: usize) {
        let (name, shape) = &self.ours[i];
        let outside = |n: &str| SIDES.iter().all(|side| below(n, side).is_none());
        let fitting: Vec<&'a str> = self
            .theirs
            .iter()
            .filter(|(n, other)| {
                let free = outside(n) && !self.used.contains(n.as_str());
                free && (fits(shape, other) || transposed(shape, other))
            })
            .map(|(n, _)| n.as_str())
            .collect();
        let usual: Vec<&'a str> = fitting.iter().copied().filter(|n| usual(n)).collect();
        match if usual.is_empty() { &fitting } else { &usual }[..] {
            [] => self.faults.missing.push(format!("{name} {shape:?}")),
            [one] => self.take(i, one),
            ref several => {
                let line = format!("{name} {shape:?} could be {}", several.join(" or "));
                self.faults.ambiguous.push(line);
            }
        }
    }

    fn finish(self) -> Result<Pairing, Faults> {
        if self.faults.any() {
            return Err(self.faults);
        }
        let names = self.theirs.keys();
        let unused = names.filter(|n| !self.used.contains(n.as_str()) && !n.ends_with(COUNTER));
        let unused = unused.cloned().collect();
        let mut faults = Faults::default();
        for ((name, shape), source) in self.ours.iter().zip(&self.sources) {
            if source.is_none() {
                faults.missing.push(format!("{name} {shape:?}"));
            }
        }
        let sources: Option<Vec<Source>> = self.sources.into_iter().collect();
        let pairing = |sources| Pairing { sources, unused };
        sources.map(pairing).ok_or(faults)
    }
}

/// Tensors in their order, by what stands before the last dot of their names.
fn modules<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize])>) -> Vec<Module<'a>> {
    let mut modules: Vec<Module<'a>> = Vec::new();
    for (whole, shape) in tensors {
        let (name, leaf) = whole.rsplit_once('.').unwrap_or(("", whole));
        let tensor = Tensor {
            leaf,
            name: whole,
            shape,
        };
        match modules.iter_mut().find(|m| m.name == name) {
            Some(module) => module.tensors.push(tensor),
            None => modules.push(Module {
                name,
                tensors: vec![tensor],
            }),
        }
    }
    modules
}

impl<'a> Module<'a> {
    fn find(&self, leaf: &str) -> Option<Tensor<'a>> {
        self.tensors.iter().copied().find(|t| t.leaf == leaf)
    }

    /// Whether all tensors of `theirs` are wanted here and fit; they may have no bias.
    fn takes(&self, theirs: &Module<'a>) -> bool {
        let wanted = |t: &Tensor<'a>| self.find(t.leaf).is_some_and(|o| fits(o.shape, t.shape));
        let there = |o: &Tensor<'a>| o.leaf == "bias" || theirs.find(o.leaf).is_some();
        theirs.tensors.iter().all(wanted) && self.tensors.iter().all(there)
    }

    /// `encoder.0 (weight [8, 3, 3, 3], bias [8])`.
    fn describe(&self) -> String {
        let tensors = self.tensors.iter();
        let parts: Vec<_> = tensors
            .map(|t| format!("{} {:?}", t.leaf, t.shape))
            .collect();
        format!("{} ({})", self.name, parts.join(", "))
    }
}

fn codebook(name: &str) -> bool {
    name.starts_with("quantizer.") && name.ends_with(".codebook")
}

/// Whether a name ends like that of a codebook.
fn usual(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').map(|p| p.trim_matches('_')).collect();
    CODEBOOKS.iter().any(|end| parts.ends_with(end))
}

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
