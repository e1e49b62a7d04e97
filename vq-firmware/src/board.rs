//! The board: how to bring it up, read its clock and send bytes to the host.
//!
//! A new board is a folder `boards/NAME/` with `memory.x` (for the linker), `board.toml` (how the host
//! builds and runs it) and `board.rs`, and a line here. `board.rs` offers what is re-exported below:
//!
//! | item | meaning |
//! |---|---|
//! | `UNIT: &str` | what [`now`] counts: `instructions`, `cycles` or `nanoseconds` |
//! | `fn init()` | clocks and the counter; called once, first |
//! | `fn now() -> u64` | UNITs since `init` |
//! | `fn write(&[u8])` | bytes to the host, whole and in order |
//! | `fn exit(bool) -> !` | the end, good or bad |

#[cfg_attr(not(target_os = "none"), path = "../boards/host/board.rs")]
#[cfg_attr(board = "cortex-m0", path = "../boards/cortex-m0/board.rs")]
#[cfg_attr(board = "microbit", path = "../boards/microbit/board.rs")]
#[cfg_attr(board = "mps2-an385", path = "../boards/mps2-an385/board.rs")]
#[cfg_attr(board = "mps2-an386", path = "../boards/mps2-an386/board.rs")]
#[cfg_attr(board = "mps2-an500", path = "../boards/mps2-an500/board.rs")]
#[cfg_attr(board = "mps2-an505", path = "../boards/mps2-an505/board.rs")]
#[cfg_attr(board = "mps3-an547", path = "../boards/mps3-an547/board.rs")]
#[cfg_attr(board = "riscv-virt", path = "../boards/riscv-virt/board.rs")]
mod chosen;

pub use chosen::{UNIT, exit, init, now, write};
