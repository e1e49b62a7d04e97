//! Bounds the stack of a linked program for Cortex-M: the deepest path through its calls, read from its disassembly.
//!
//! ```text
//! arm-none-eabi-objdump --disassemble --full-contents --no-show-raw-insn -j .text -j .rodata -j .data PROGRAM |
//!     stack-bound BYTES
//! ```
//!
//! A function counts with all that it ever pushes. What is called by address may be any function whose address the
//! program holds. Functions that may come back to themselves have no bound, which is an error; so is a frame whose
//! size is only known as the program runs. The one exception are the functions that format numbers and errors, which
//! call each other by address: all of them count at once, and twice, for errors that name another. Interrupts come on top.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::error::Error;
use std::io::{self, Read};
use std::process::ExitCode;

/// Part of the name of a function that only what formats calls.
const FORMATS: &str = "core3fmt5write";

/// What a branch may depend on.
const CONDITIONS: [&str; 17] = [
    "", "eq", "ne", "cs", "cc", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt",
    "le",
];

/// What is known of a register.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// Its contents.
    Word(u32),
    /// It points into the frame, by way of the frame pointer: what goes back there takes no more.
    Frame,
    /// It points at most so many bytes below the stack pointer.
    Below(u32),
}

/// A function of the program.
#[derive(Debug, Default)]
struct Function {
    name: String,
    /// Bytes that it pushes.
    frame: u64,
    /// Where its calls and jumps go.
    calls: BTreeSet<u32>,
    /// Whether it calls what it has the address of.
    by_address: bool,
}

/// What the listing tells.
#[derive(Debug, Default)]
struct Program {
    /// By address.
    functions: BTreeMap<u32, Function>,
    /// Every word that may be an address, with the bit that marks one of Thumb.
    words: BTreeSet<u32>,
    /// Every word of memory.
    memory: BTreeMap<u32, u32>,
}

/// What a function, or several that call each other, may take with all that they call.
#[derive(Debug, Clone, Default)]
struct Bound {
    bytes: u64,
    /// From the caller to the deepest.
    path: Vec<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, Box<dyn Error>> {
    let most: u64 = env::args().nth(1).ok_or("name the most bytes")?.parse()?;
    let mut listing = String::new();
    io::stdin().read_to_string(&mut listing)?;
    let program = Program::read(&listing)?;
    let Bound { bytes, path } = Search::new(&program).bound(program.entry()?)?;
    let path = path.join(" > ");
    if bytes > most {
        return Err(format!("{bytes} bytes of stack, {most} at most: {path}").into());
    }
    Ok(format!("at most {bytes} bytes of stack: {path}"))
}

impl Function {
    /// Whether it is one of `core::fmt`, or implements a trait of that: by address these call each other alone.
    fn formats(&self) -> bool {
        self.name.contains("core3fmt") || self.name.contains("core..fmt")
    }
}

impl Program {
    fn read(listing: &str) -> Result<Self, Box<dyn Error>> {
        let mut program = Self::default();
        for (address, bytes) in listing.lines().filter_map(contents) {
            let (words, _) = bytes.as_chunks::<4>();
            let words = words.iter().map(|&word| u32::from_le_bytes(word));
            program.memory.extend((address..).step_by(4).zip(words));
        }
        program.words = program.memory.values().copied().collect();
        let mut own = None;
        let mut registers = BTreeMap::new();
        for line in listing.lines() {
            if let Some((address, name)) = heading(line) {
                own = Some(address);
                registers.clear();
                program.functions.entry(address).or_default().name = name.to_owned();
            } else if let (Some(own), Some(instruction)) = (own, instruction(line)) {
                let read = program.add(own, instruction, &mut registers);
                read.ok_or_else(|| format!("a frame of unknown size: {line}"))?;
            }
        }
        Ok(program)
    }

    fn entry(&self) -> Result<u32, String> {
        let mut functions = self.functions.iter();
        let found = functions.find(|(_, function)| function.name == "Reset");
        Ok(*found.ok_or("the listing has no function `Reset`")?.0)
    }

    /// Adds what an instruction means for its function. `registers` are those whose contents are known. None where it takes
    /// memory whose size is not.
    fn add<'a>(
        &mut self,
        own: u32,
        [name, operands, remark]: [&'a str; 3],
        registers: &mut BTreeMap<&'a str, Known>,
    ) -> Option<()> {
        let function = self.functions.get_mut(&own)?;
        let base = name.split('.').next()?;
        let (first, rest) = operands.split_once(", ").unwrap_or((operands, ""));
        let number = || rest.rsplit_once('#')?.1.parse::<u32>().ok();
        match base {
            "push" | "vpush" => function.frame += size(operands),
            "stmdb" | "vstmdb" if first == "sp!" => function.frame += size(rest),
            "sub" | "subw" if first == "sp" => function.frame += u64::from(number()?),
            "add" if first == "sp" && !rest.contains('#') => {
                // A frame that is too large for an instruction, as a negative number.
                let Known::Word(word) = *registers.get(rest.trim_start_matches("sp, "))? else {
                    return None;
                };
                let taken = if word >> 31 == 1 {
                    word.wrapping_neg()
                } else {
                    0
                };
                function.frame += u64::from(taken);
            }
            "str" | "strd" if operands.contains("[sp, #-") => {
                let taken = operands.split_once("[sp, #-")?.1.strip_suffix("]!")?;
                function.frame += taken.parse::<u64>().ok()?;
            }
            "mov" if first == "sp" => match registers.get(rest)? {
                Known::Word(_) => return None,
                Known::Frame => {}
                Known::Below(bytes) => function.frame += u64::from(*bytes),
            },
            "and" | "bic" | "bfc" if first == "sp" => return None,
            "mov" if rest == "sp" => {
                registers.insert(first, Known::Below(0));
            }
            "bfc" if rest.starts_with("#0, #") => {
                if let Some(Known::Below(bytes)) = registers.get_mut(first) {
                    *bytes = (1 << number()?) - 1;
                }
            }
            "sub" | "subs" | "mov" if rest.split(',').next() == Some("r7") => {
                registers.insert(first, Known::Frame);
            }
            "movw" => {
                registers.insert(first, Known::Word(number()?));
            }
            "movt" => {
                if let Some(Known::Word(low)) = registers.get(first) {
                    self.words.insert(number()? << 16 | low & 0xffff);
                }
            }
            "ldr" if rest.starts_with("[pc") => {
                let address = remark.split_once('(')?.1.split([' ', ')']).next()?;
                let word = self.memory.get(&u32::from_str_radix(address, 16).ok()?);
                registers.insert(first, Known::Word(*word?));
            }
            "subs" if rest.starts_with('#') => {}
            _ => match branch(base) {
                Some(branch) => self.jump(own, branch, operands)?,
                None => {
                    registers.remove(first);
                }
            },
        }
        Some(())
    }

    /// Notes where a jump or a call goes. One into the midst of a function is one of its own, or what looks like code behind it.
    fn jump(&mut self, own: u32, base: &str, operands: &str) -> Option<()> {
        let function = self.functions.get_mut(&own)?;
        match operands.split_once(" <") {
            Some((before, _)) => {
                let target = u32::from_str_radix(before.rsplit(' ').next()?, 16).ok()?;
                if target != own || base == "bl" {
                    function.calls.insert(target);
                }
            }
            None if operands != "lr" => function.by_address = true,
            None => {}
        }
        Some(())
    }

    /// The functions that one may call.
    fn callees(&self, of: u32) -> BTreeSet<u32> {
        let Some(function) = self.functions.get(&of) else {
            return BTreeSet::new();
        };
        let calls = function.calls.iter().copied();
        let mut callees: BTreeSet<_> = calls
            .filter(|call| self.functions.contains_key(call))
            .collect();
        if function.by_address {
            let is_meant = |&(address, other): &(&u32, &Function)| {
                let is_named = self.words.contains(&(address | 1));
                is_named && (other.formats() || !function.formats())
            };
            let meant = self.functions.iter().filter(is_meant);
            callees.extend(meant.map(|(&address, _)| address));
        }
        callees
    }

    /// What a function calls, what that calls, and so on.
    fn reach(&self, from: u32) -> BTreeSet<u32> {
        let (mut found, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(function) = next.pop() {
            let new = |callee: &u32| found.insert(*callee);
            next.extend(self.callees(function).into_iter().filter(new));
        }
        found
    }

    /// The functions that format.
    fn formatters(&self) -> BTreeSet<u32> {
        let mut functions = self.functions.iter();
        let write = functions.find(|(_, function)| function.name.contains(FORMATS));
        let Some((&write, _)) = write else {
            return BTreeSet::new();
        };
        let back = |&function: &u32| self.reach(function).contains(&write);
        self.reach(write).into_iter().filter(back).collect()
    }
}

/// The search for the deepest path.
struct Search<'a> {
    program: &'a Program,
    formatters: BTreeSet<u32>,
    known: BTreeMap<u32, Bound>,
    /// Functions that have not returned.
    open: Vec<u32>,
}

impl<'a> Search<'a> {
    fn new(program: &'a Program) -> Self {
        Self {
            program,
            formatters: program.formatters(),
            known: BTreeMap::new(),
            open: Vec::new(),
        }
    }

    fn bound(&mut self, function: u32) -> Result<Bound, String> {
        if let Some(bound) = self.known.get(&function) {
            return Ok(bound.clone());
        }
        let name = |function: &u32| self.program.functions[function].name.clone();
        if let Some(first) = self.open.iter().position(|&open| open == function) {
            let path: Vec<_> = self.open[first..].iter().map(name).collect();
            return Err(format!("no bound: {} call each other", path.join(", ")));
        }
        let together: BTreeSet<u32> = match self.formatters.contains(&function) {
            true => self.formatters.clone(),
            false => [function].into(),
        };
        let frames = together.iter().map(|own| self.program.functions[own].frame);
        let (mut own, mut name): (u64, _) = (frames.sum(), name(&function));
        if self.formatters.contains(&function) {
            (own, name) = (2 * own, "formatting".to_owned());
        }
        self.open.push(function);
        let mut deepest = Bound::default();
        for callee in together.iter().flat_map(|&own| self.program.callees(own)) {
            if !self.formatters.contains(&function) || !together.contains(&callee) {
                let bound = self.bound(callee)?;
                if bound.bytes > deepest.bytes {
                    deepest = bound;
                }
            }
        }
        self.open.pop();
        let path = [format!("{name} ({own})")]
            .into_iter()
            .chain(deepest.path)
            .collect();
        let bound = Bound {
            bytes: own + deepest.bytes,
            path,
        };
        self.known.insert(function, bound.clone());
        Ok(bound)
    }
}

/// The start of a function: `00000400 <Reset>:`.
fn heading(line: &str) -> Option<(u32, &str)> {
    let (address, name) = line.strip_suffix(">:")?.split_once(" <")?;
    Some((u32::from_str_radix(address, 16).ok()?, name))
}

/// Mnemonic, operands and remark of a line such as `     404:\tldr\tr0, [pc, #56]\t@ (440 <Reset+0x40>)`.
fn instruction(line: &str) -> Option<[&str; 3]> {
    let (address, rest) = line.split_once(":\t")?;
    u32::from_str_radix(address.trim(), 16).ok()?;
    let mut parts = rest.split('\t').map(str::trim);
    Some([(); 3].map(|()| parts.next().unwrap_or_default()))
}

/// Address and bytes of a line such as ` 0400 08f06cf8 0e480f49 00228842 01d004c0  ..l..H.I."..B...`.
fn contents(line: &str) -> Option<(u32, Vec<u8>)> {
    let (address, rest) = line.strip_prefix(' ')?.split_once(' ')?;
    let address = u32::from_str_radix(address, 16).ok()?;
    let digits: String = rest.split("  ").next()?.split(' ').collect();
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<_> = (0..digits.len()).step_by(2).map(byte).collect();
    Some((address, bytes?))
}

/// The branch that a mnemonic names, without what it depends on: `bl` of `blne`, but `b` of `bls`.
fn branch(name: &str) -> Option<&'static str> {
    let is_meant = |branch: &&str| {
        let condition = name.strip_prefix(branch);
        condition.is_some_and(|condition| CONDITIONS.contains(&condition))
    };
    ["blx", "bl", "bx", "cbz", "cbnz", "b"]
        .into_iter()
        .find(is_meant)
}

/// Bytes of a list of registers such as `{r4, r5, lr}` or `{d8-d11}`.
fn size(registers: &str) -> u64 {
    let wide = if registers.contains('d') { 8 } else { 4 };
    let list = registers.trim_matches(['{', '}']).split(',');
    let count = |part: &str| {
        let number = |name: &str| name.trim_start_matches(char::is_alphabetic).parse::<u64>();
        match part
            .trim()
            .split_once('-')
            .map(|(a, b)| (number(a), number(b)))
        {
            Some((Ok(first), Ok(last))) => last + 1 - first,
            _ => 1,
        }
    };
    wide * list.map(count).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(listing: &str) -> Result<u64, Box<dyn Error>> {
        let program = Program::read(listing)?;
        Ok(Search::new(&program).bound(program.entry()?)?.bytes)
    }

    #[test]
    fn the_deepest_path_counts() {
        // 8 + 16 for `deep`, whose frame is a literal, or 8 + 4 + 8 for `other`.
        let listing = "
 0000 00000000 00000000 00000000 f0ffffff  ................
00000020 <Reset>:
      20:\tpush\t{r4, lr}
      22:\tbl\t30 <deep>
      26:\tb.w\t40 <other>
00000030 <deep>:
      30:\tldr\tr4, [pc, #4]\t@ (c <Reset-0x14>)
      32:\tadd\tsp, r4
00000040 <other>:
      40:\tstr.w\tlr, [sp, #-4]!
      44:\tvpush\t{d8}
";
        assert_eq!(bound(listing).unwrap(), 24);
    }

    #[test]
    fn what_is_called_by_address_counts() {
        let listing = "
 0100 31000000                             1...
00000020 <Reset>:
      20:\tblx\tr3
00000030 <named>:
      30:\tsub\tsp, #40\t@ 0x28
00000040 <unnamed>:
      40:\tsub\tsp, #80\t@ 0x50
";
        assert_eq!(bound(listing).unwrap(), 40);
    }

    #[test]
    fn what_comes_back_to_itself_has_no_bound() {
        let listing = "
00000020 <Reset>:
      20:\tbl\t30 <a>
00000030 <a>:
      30:\tbl\t40 <b>
00000040 <b>:
      40:\tbeq.n\t30 <a>
";
        let error = bound(listing).unwrap_err().to_string();
        assert_eq!(error, "no bound: a, b call each other");
    }

    #[test]
    fn what_is_called_on_a_condition_counts() {
        let listing = "
 0100 31000000                             1...
00000020 <Reset>:
      20:\tblxne\tr3
      22:\tbleq\t40 <other>
00000030 <named>:
      30:\tsub\tsp, #40\t@ 0x28
00000040 <other>:
      40:\tsub\tsp, #80\t@ 0x50
      42:\tbxeq\tlr
      44:\tbls.n\t30 <named>
";
        assert_eq!(bound(listing).unwrap(), 120);
    }

    #[test]
    fn going_back_to_the_frame_takes_nothing() {
        let listing = "
00000020 <Reset>:
      20:\tpush\t{r4, r5, r6, r7, lr}
      22:\tsub\tsp, #12
      24:\tsubs\tr6, r7, #7
      26:\tsubs\tr6, #5
      28:\tmov\tsp, r6
";
        assert_eq!(bound(listing).unwrap(), 32);
    }

    #[test]
    fn what_alignment_may_take_counts() {
        let listing = "
00000020 <Reset>:
      20:\tsub\tsp, #12
      22:\tmov\tr4, sp
      24:\tbfc\tr4, #0, #4
      28:\tmov\tsp, r4
";
        assert_eq!(bound(listing).unwrap(), 27);
    }

    #[test]
    fn a_frame_of_unknown_size_has_no_bound() {
        let listing = "00000020 <Reset>:\n      20:\tmov\tsp, r4\n";
        let error = bound(listing).unwrap_err().to_string();
        assert_eq!(error, "a frame of unknown size:       20:\tmov\tsp, r4");
    }
}
