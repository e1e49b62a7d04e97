//! `vq demo`.
use crate::shared::Result;

/// Show everything at once, on photos and a model that are in this program.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<()> {
    Err("not yet".into())
}
