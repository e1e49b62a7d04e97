//! `vq` as a user types it: whole commands, run as processes in a folder of their own.
//!
//! A test target of vq-train, because only a package's own tests are handed its binary.

#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/interchange.rs"]
mod interchange;
#[path = "cli/lab.rs"]
mod lab;
#[path = "cli/messages.rs"]
mod messages;
#[path = "cli/outputs.rs"]
mod outputs;
#[path = "cli/packets.rs"]
mod packets;
#[path = "cli/refusals.rs"]
mod refusals;
#[path = "cli/resume.rs"]
mod resume;
#[path = "cli/streams.rs"]
mod streams;

use lab::Lab;
