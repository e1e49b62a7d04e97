//! A model in training: its state between two steps, and how that is kept and taken up again.

use super::error::TrainError;
use super::networks::Networks;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::data::Dataset;
use crate::gan::{Adversary, Discriminator};
use crate::health::Health;
use crate::loss::{Lpips, PixelLoss};
use crate::model::VqVae;
use crate::nn::{ParamInfo, Tape, Workspace};
use crate::optim::Adam;
use crate::quantizer::{Bridge, SquareOrder, Table};
use crate::random::{Purpose, generator};
use ndarray::Array4;

/// The name of the configuration in a checkpoint, in errors.
const ORIGIN: &str = "the checkpoint's configuration";

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    /// The run's configuration.
    pub config: Config,
    /// Encoder, quantiser and decoder.
    pub model: VqVae,
    /// Steps done.
    pub step: u64,
    /// The flat parameter vector, as the next step begins with it.
    pub params: Vec<f32>,
    /// The parameters' moving average, with `optimizer.ema`.
    pub averaged: Option<Vec<f32>>,
    pub(super) adam: Adam,
    pub(super) space: Workspace<f32>,
    /// The scale of the pixel loss.
    pub(super) scale: f64,
    /// Whether the codes have been placed, so that latents are quantised.
    pub(super) placed: bool,
    pub(super) lpips: Option<Lpips>,
    pub(super) tapes: Vec<Tape<f32>>,
    pub(super) adversary: Option<Adversary>,
    pub(super) health: Health,
}

impl Trainer {
    /// A model with fresh weights for these pictures.
    pub fn new(networks: Networks, data: &Dataset) -> Trainer {
        let mut draws = generator(networks.config.seed, Purpose::Weights, 0);
        let params = networks.model.table.init(&mut draws);
        Trainer::first(networks, params, data)
    }

    /// A model with given parameters for these pictures. Its codes are where the parameters say: they are
    /// not placed among the latents.
    ///
    /// # Panics
    /// When `params` is not of the model's length.
    pub fn with_params(networks: Networks, params: Vec<f32>, data: &Dataset) -> Trainer {
        let len = networks.model.table.len();
        assert_eq!(params.len(), len, "parameters of this model");
        let mut trainer = Trainer::first(networks, params, data);
        trainer.placed = true;
        trainer
    }

    /// A model that begins with the weights of another run of the same layers, their average if there is one.
    /// Everything else begins anew: steps, optimiser, discriminator.
    ///
    /// # Errors
    /// [`TrainError::Foreign`] names the first parameter that differs; a checkpoint that does not fit its own
    /// configuration.
    pub fn from_run(
        networks: Networks,
        run: Checkpoint,
        data: &Dataset,
    ) -> Result<Trainer, TrainError> {
        let (placed, run) = (run.placed, Trainer::resume(run)?);
        let (ours, theirs) = (&networks.model.table.entries, &run.model.table.entries);
        let described = |entry: Option<&ParamInfo>| match entry {
            Some(entry) => format!("{} of {:?}", entry.name, entry.shape),
            None => "nothing".into(),
        };
        for i in 0..ours.len().max(theirs.len()) {
            let [ours, theirs] = [ours.get(i), theirs.get(i)].map(described);
            if ours != theirs {
                let reason = format!("it has {theirs} where the configuration has {ours}");
                return Err(TrainError::Foreign(reason));
            }
        }
        let mut trainer = Trainer::first(networks, run.deployed().to_vec(), data);
        trainer.placed = placed;
        Ok(trainer)
    }

    /// The state before the first step.
    fn first(networks: Networks, params: Vec<f32>, data: &Dataset) -> Trainer {
        let Networks {
            config,
            model,
            discriminator,
        } = networks;
        Trainer {
            adversary: adversary(&config, discriminator),
            scale: PixelLoss::new(config.loss.kind, data.variance()).scale,
            averaged: (config.optimizer.ema > 0.0).then(|| params.clone()),
            adam: Adam::new(params.len()),
            config,
            model,
            step: 0,
            params,
            space: Workspace::default(),
            placed: false,
            lpips: None,
            tapes: Vec::new(),
            health: Health::default(),
        }
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// [`TrainError::Mismatch`] when the state is not that of the configuration's networks.
    pub fn resume(checkpoint: Checkpoint) -> Result<Trainer, TrainError> {
        let config = Config::parse(&checkpoint.config, ORIGIN)?;
        let networks = Networks::build(config).map_err(|e| e.in_file(ORIGIN))?;
        let Networks {
            config,
            model,
            discriminator,
        } = networks;
        let Checkpoint {
            step,
            scale,
            params,
            averaged,
            adam,
            placed,
            adversary: state,
            health,
            ..
        } = checkpoint;
        if params.len() != model.table.len() || !adam.fits(params.len()) {
            return Err(TrainError::Mismatch("another number of parameters"));
        }
        let length = (config.optimizer.ema > 0.0).then_some(params.len());
        if averaged.as_ref().map(Vec::len) != length {
            return Err(TrainError::Mismatch("other averaged parameters"));
        }
        let mut adversary = adversary(&config, discriminator);
        // A checkpoint of imported weights has no discriminator's state.
        if let (Some(adversary), Some(state)) = (&mut adversary, state)
            && !adversary.resume(state)
        {
            return Err(TrainError::Mismatch("another discriminator"));
        }
        Ok(Trainer {
            config,
            model,
            step,
            params,
            averaged,
            adam,
            space: Workspace::default(),
            scale,
            placed,
            lpips: None,
            tapes: Vec::new(),
            adversary,
            health,
        })
    }

    /// Sets the network that `loss.lpips` asks for.
    pub fn set_lpips(&mut self, lpips: Lpips) {
        self.lpips = Some(lpips);
    }

    /// Everything needed to go on.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            config: self.config.to_toml(),
            step: self.step,
            scale: self.scale,
            params: self.params.clone(),
            averaged: self.averaged.clone(),
            adam: self.adam.clone(),
            placed: self.placed,
            adversary: self.adversary.as_ref().map(|a| a.state().clone()),
            health: self.health,
        }
    }

    /// The parameters to validate and to deploy: their average, if one is kept.
    pub fn deployed(&self) -> &[f32] {
        self.averaged.as_deref().unwrap_or(&self.params)
    }

    /// The discriminator, in adversarial training.
    pub fn adversary(&self) -> Option<&Adversary> {
        self.adversary.as_ref()
    }

    /// The discriminator, to begin with other weights.
    pub fn adversary_mut(&mut self) -> Option<&mut Adversary> {
        self.adversary.as_mut()
    }

    /// Bytes that a step works in.
    pub fn step_bytes(&self) -> usize {
        let tapes: usize = self.tapes.iter().map(Tape::bytes).sum();
        self.space.bytes() + tapes + self.adversary.as_ref().map_or(0, Adversary::bytes)
    }

    /// The codes as plain tables, stage by stage; none before they have been placed.
    pub fn tables(&self) -> Option<Vec<Table>> {
        let quantizer = self.model.quantizer();
        self.placed.then(|| quantizer.tables(self.deployed()))
    }

    /// The operations around the tables.
    pub(crate) fn bridge(&self) -> Bridge {
        self.model.quantizer().bridge(self.deployed())
    }

    /// The quantiser's order of the vectors of latents `[n, h, w, dim]`.
    pub(super) fn order_of(&self, latents: &Array4<f32>) -> SquareOrder {
        let (_, height, width, _) = latents.dim();
        self.model.square_order([height, width])
    }
}

/// The discriminator with fresh weights, if there is one.
fn adversary(config: &Config, discriminator: Option<Discriminator>) -> Option<Adversary> {
    let networks = discriminator.zip(config.gan.as_ref());
    networks.map(|(net, gan)| Adversary::new(net, gan, config.seed))
}
