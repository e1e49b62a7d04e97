//! `vq`: train, export, encode, decode, measure. One file for each command; what they do is in the
//! library.
#![forbid(unsafe_code)]

mod bench;
mod decode;
mod demo;
mod encode;
mod eval;
mod export;
mod flash;
mod identity;
mod import;
mod info;
mod messages;
mod outputs;
mod shared;
mod signals;
mod train;

use crate::messages::note;
use crate::outputs::ReaderGone;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A picture in a packet: train VQ models, code pictures with them, run them on devices.
#[derive(Debug, Parser)]
#[command(name = "vq", version, arg_required_else_help = true)]
#[command(after_help = "Start with:  vq demo")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Train(train::Args),
    Import(import::Args),
    Export(export::Args),
    Info(info::Args),
    Encode(encode::Args),
    Decode(decode::Args),
    Eval(eval::Args),
    Bench(bench::Args),
    Flash(flash::Args),
}

/// As shells report of a program that was ended by writing to a pipe without a reader; nothing is said then.
const READER_GONE: u8 = 128 + 13;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Encode(args) => encode::run(&args),
        Command::Decode(args) => decode::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Flash(args) => flash::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ReaderGone>() => ExitCode::from(READER_GONE),
        Err(error) => {
            note!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
