//! From a configuration to a quantiser, and its parameters' names.
//!
//! A lone codebook's parameters are `quantizer.codebook` and so on; those of stage s and group g have s
//! and g in their names, `quantizer.s.g.codebook`, each only where there are several.

use super::any::Quantizer;
use super::coarse::Coarse;
use super::codebook::{Codebook, Learning, Terms};
use super::ema::{Ema, Following};
use super::entropy::Entropy;
use super::fsq::Fsq;
use super::gradient::Gradient;
use super::grouped::Grouped;
use super::gumbel::{Gumbel, GumbelSettings};
use super::residual::Residual;
use super::simvq::SimVq;
use crate::config::{EntropyConfig, QuantizerConfig, QuantizerKind};
use crate::nn::ParamTable;

impl Quantizer {
    /// The quantiser of a checked configuration; its parameters are entered into `table`.
    pub fn new(config: &QuantizerConfig, table: &mut ParamTable) -> Quantizer {
        let name = "quantizer";
        match config.kind {
            QuantizerKind::Fsq => Quantizer::Fsq(Fsq {
                levels: config.levels.clone(),
            }),
            QuantizerKind::Gumbel => {
                let gumbel = config.gumbel.unwrap_or_default();
                let settings = GumbelSettings {
                    codes: config.codes.of_stage(0),
                    dim: config.dim,
                    temperature: gumbel.temperature,
                    steps: gumbel.steps,
                    kl: gumbel.kl,
                };
                Quantizer::Gumbel(Gumbel::new(settings, name, table))
            }
            QuantizerKind::Ema | QuantizerKind::Gradient | QuantizerKind::SimVq => {
                residual(config, name, table)
            }
        }
    }
}

fn residual(config: &QuantizerConfig, name: &str, table: &mut ParamTable) -> Quantizer {
    if config.stages == 1 {
        return stage(config, 0, name, table);
    }
    let width = config.dim / config.groups;
    let stages = 0..config.stages;
    Quantizer::Residual(Residual {
        stages: stages
            .map(|s| stage(config, s, &format!("{name}.{s}"), table))
            .collect(),
        dropout: config.stage_dropout,
        rotation: config.rotation.then_some(width),
    })
}

fn stage(config: &QuantizerConfig, s: usize, name: &str, table: &mut ParamTable) -> Quantizer {
    let codes = config.codes.of_stage(s);
    let inner = grouped(config, codes, name, table);
    let side = config.side(s);
    if side == 1 {
        return inner;
    }
    Quantizer::Coarse(Coarse {
        side,
        dim: config.dim,
        inner: Box::new(inner),
    })
}

fn grouped(
    config: &QuantizerConfig,
    codes: usize,
    name: &str,
    table: &mut ParamTable,
) -> Quantizer {
    if config.groups == 1 {
        return Quantizer::Codebook(codebook(config, codes, name, table));
    }
    let groups = 0..config.groups;
    Quantizer::Grouped(Grouped {
        groups: groups
            .map(|g| codebook(config, codes, &format!("{name}.{g}"), table))
            .collect(),
    })
}

fn codebook(
    config: &QuantizerConfig,
    codes: usize,
    name: &str,
    table: &mut ParamTable,
) -> Codebook {
    let following = Following {
        codes,
        dim: config.dim / config.groups,
        decay: config.decay,
        restart: config.restart,
    };
    let learning = match config.kind {
        QuantizerKind::Gradient => Learning::Gradient(Gradient::new(following, name, table)),
        QuantizerKind::SimVq => {
            Learning::SimVq(SimVq::new(following.codes, following.dim, name, table))
        }
        _ => Learning::Ema(Ema::new(following, name, table)),
    };
    Codebook {
        codes: following.codes,
        dim: following.dim,
        learning,
        terms: Terms {
            commitment: config.commitment,
            share: 1.0 / config.groups as f64,
            cosine: config.cosine,
            rotation: config.rotation,
            entropy: config.entropy.map(regulariser),
        },
    }
}

fn regulariser(config: EntropyConfig) -> Entropy {
    Entropy {
        weight: config.weight,
        temperature: config.temperature,
    }
}
