//! `vq train`: from pictures to a checkpoint.

use crate::messages::{Bar, note};
use crate::outputs::{Files, folder, print_json};
use crate::shared::{Result, source};
use crate::signals::stop_flag;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vq_train::checkpoint::{Checkpoint, FILE_NAME};
use vq_train::claim::Claim;
use vq_train::config::{Config, Source};
use vq_train::data::Dataset;
use vq_train::loss::Lpips;
use vq_train::run::{self, CONFIG_NAME, Observer, Summary};
use vq_train::train::{Networks, StepReport, TrainError, Trainer, Validation};

/// Train a model as a TOML configuration says.
///
/// Ctrl-C, SIGTERM and SIGHUP save a checkpoint and stop (under nohup a terminal that closes does not); the same
/// command with --resume goes on from there, to exactly the weights of a run that was never stopped. Only one
/// process at a time writes a run. `tensorboard --logdir runs` shows the figures,
/// the reconstructions and the use of the codes while it trains.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:  vq train configs/micro.toml --data photos/ --out runs/micro\n\
                  Stop:     kill PID, or Ctrl-C\n\
                  Go on:    vq train configs/micro.toml --data photos/ --out runs/micro --resume\n\
                  Pipes:    sed 's/codes = 512/codes = 256/' micro.toml | vq train - --data photos/ --out runs/small"
)]
pub(crate) struct Args {
    /// The configuration; - is standard input.
    config: PathBuf,
    /// Folder of training data; several may be given, each with a weight by which batches are mixed
    /// [default: data.path or data.mix of the configuration]
    #[arg(long, value_name = "DIR[=WEIGHT]", value_parser = source())]
    data: Vec<Source>,
    /// Folder of pictures to validate on [default: a part of the data is held out]
    #[arg(long, value_name = "DIR")]
    validation: Option<PathBuf>,
    /// Start with the weights of another run with the same layers: its folder or checkpoint
    #[arg(long, value_name = "RUN")]
    from: Option<PathBuf>,
    /// Folder for checkpoint, log, TensorBoard's events and sheets [default: runs/NAME]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Steps in all [default: train.steps of the configuration]
    #[arg(long)]
    steps: Option<u64>,
    /// Seed of everything random [default: seed of the configuration]
    #[arg(long)]
    seed: Option<u64>,
    /// Weights of LPIPS, where loss.lpips asks for it (safetensors) [default: the file that VQ_LPIPS names]
    #[arg(long, value_name = "FILE")]
    lpips: Option<PathBuf>,
    /// Threads; the weights do not depend on their number [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
    /// Go on from the checkpoint in RUN; without one, start
    #[arg(long)]
    resume: bool,
    /// Print the final figures as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()?;
    }
    let lpips = Lpips::named(args.lpips.as_deref());
    let read = Files::read([&args.config].into_iter().chain(&args.from).chain(&lpips))?;
    let networks = networks(args)?;
    let config = &networks.config;
    let claim = claim(args, config, &read)?;
    let checkpoint = checkpoint(claim.folder(), args.resume, config)?;
    let data = Dataset::load(config, &args.data, args.validation.as_deref())?;
    data.skipped.iter().for_each(|s| note!("skipped: {s}"));
    let mut trainer = trainer(args, networks, checkpoint, &data)?;
    announce(&trainer, &data);
    let mut watcher = Watcher::new(&trainer, stop_flag()?);
    let summary = run::train(&mut trainer, &data, Some(&claim), &mut watcher)?;
    drop(watcher);
    conclude(&summary, claim.folder());
    if args.json {
        print_json(&summary)
    } else {
        Ok(())
    }
}

/// The networks of the configuration, with what the command line changes in it.
fn networks(args: &Args) -> Result<Networks> {
    let mut config = Config::load(&args.config)?;
    config.train.steps = args.steps.unwrap_or(config.train.steps);
    config.seed = args.seed.unwrap_or(config.seed);
    let origin = args.config.display().to_string();
    config.check().map_err(|e| e.in_file(&origin))?;
    Ok(Networks::build(config).map_err(|e| e.in_file(&origin))?)
}

/// The trainer of a run that goes on, or starts with another one's weights or with fresh ones.
fn trainer(
    args: &Args,
    networks: Networks,
    checkpoint: Option<Checkpoint>,
    data: &Dataset,
) -> Result<Trainer> {
    let mut trainer = match (checkpoint, &args.from) {
        (Some(checkpoint), _) => Trainer::resume(checkpoint)?,
        (None, Some(run)) => {
            let named = |e| format!("{}: {e}", run.display());
            Trainer::from_run(networks, Checkpoint::load(run)?, data).map_err(named)?
        }
        (None, None) => Trainer::new(networks, data),
    };
    if trainer.config.loss.lpips > 0.0 {
        trainer.set_lpips(Lpips::find(args.lpips.as_deref())?);
    } else if args.lpips.is_some() {
        return Err("--lpips is of no use: the configuration's loss.lpips is 0".into());
    }
    Ok(trainer)
}

/// Says what is going to be trained.
fn announce(trainer: &Trainer, data: &Dataset) {
    let steps = trainer.config.train.steps;
    note!(
        "{}: {} parameters, {} pictures to train on, {} to validate on, step {} of {steps}",
        trainer.config.name,
        trainer.model.table.learnt(),
        data.len(),
        data.validation.len(),
        trainer.step,
    );
    let gan = trainer.config.gan.as_ref();
    if let Some(gan) = gan.filter(|gan| gan.start >= steps) {
        let start = gan.start;
        note!("note: with gan.start = {start} there is no adversarial loss in {steps} steps");
    }
}

/// Says what has been trained.
fn conclude(summary: &Summary, out: &Path) {
    let state = if summary.finished {
        "done"
    } else {
        "stopped; --resume goes on"
    };
    note!(
        "{state}: {} steps, {:.1} images/s, {:.0} MiB for a step, {}",
        summary.steps,
        summary.images_per_s,
        summary.step_bytes as f64 / f64::from(1 << 20),
        out.display()
    );
}

/// The run's folder, for this process alone; nothing that is read lies where the run will write.
fn claim(args: &Args, config: &Config, read: &Files) -> Result<Claim> {
    let default = || PathBuf::from("runs").join(&config.name);
    let out = args.out.clone().unwrap_or_else(default);
    folder(&out)?;
    read.refuse(&out.join(FILE_NAME))?;
    read.refuse_change(&out.join(CONFIG_NAME), &config.to_toml())?;
    Ok(Claim::of(&out)?)
}

/// The run's checkpoint when it is to be resumed, checked to be of the same configuration.
fn checkpoint(out: &Path, resume: bool, config: &Config) -> Result<Option<Checkpoint>> {
    let path = out.join(FILE_NAME);
    if !path.exists() {
        return Ok(None);
    }
    if !resume {
        let path = path.display();
        return Err(format!("{path} exists: go on with --resume, or name another --out").into());
    }
    let checkpoint = Checkpoint::load(&path)?;
    if checkpoint.config != config.to_toml() {
        let kept = out.join(CONFIG_NAME);
        return Err(format!(
            "{} was made with another configuration ({}): resume with that one and the same --steps and \
             --seed, or name another --out",
            path.display(),
            kept.display()
        )
        .into());
    }
    Ok(Some(checkpoint))
}

/// The progress bar on a terminal; a line now and then elsewhere.
pub(crate) struct Watcher {
    bar: Bar,
    stop: Arc<AtomicBool>,
    batch: f64,
    started: Instant,
    first: u64,
    last_line: Instant,
    /// What could not be written, each of which is said once.
    missed: BTreeSet<String>,
}

impl Watcher {
    pub(crate) fn new(trainer: &Trainer, stop: Arc<AtomicBool>) -> Watcher {
        let bar = Bar::show(
            trainer.config.train.steps,
            trainer.step,
            "{bar:30} {pos}/{len} {msg} [{elapsed_precise} + {eta}]",
        );
        let (now, batch) = (Instant::now(), trainer.config.train.batch as f64);
        Watcher {
            bar,
            stop,
            batch,
            started: now,
            first: trainer.step,
            last_line: now,
            missed: BTreeSet::new(),
        }
    }
}

impl Observer for Watcher {
    fn step(&mut self, r: &StepReport) -> ControlFlow<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = (r.step - self.first) as f64 * self.batch / seconds.max(1e-9);
        let mut text = format!(
            "loss {:.4}  {:.2} dB  perplexity {:.0}  {rate:.1} images/s",
            r.loss, r.psnr, r.perplexity
        );
        if let Some(d) = r.adversary {
            text += &format!("  D {:+.2} real {:+.2} fake", d.d_real, d.d_fake);
        }
        if let Some(event) = r.event {
            note!("step {}: {event}", r.step);
        }
        if self.bar.is_hidden() && self.last_line.elapsed() > Duration::from_secs(20) {
            note!("step {}: {text}", r.step);
            self.last_line = Instant::now();
        }
        self.bar.update(r.step, text);
        if self.stop.load(Ordering::SeqCst) {
            note!("saving a checkpoint, then stopping; Ctrl-C once more stops at once");
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn validated(&mut self, v: &Validation) {
        if v.images == 0 {
            return;
        }
        let mut text = format!(
            "step {}: validation {:.2} dB, NMSE {:.4}, perplexity {:.0}, {:.1} % of the codes used",
            v.step,
            v.psnr,
            v.nmse,
            v.perplexity,
            100.0 * v.usage
        );
        if let Some(lpips) = v.lpips {
            text += &format!(", LPIPS {lpips:.3}");
        }
        for (i, stage) in v.stages.iter().enumerate() {
            let used = 100.0 * stage.usage;
            let perplexity = stage.perplexity;
            text += &format!("\n  stage {i}: perplexity {perplexity:.0}, {used:.1} % used");
        }
        note!("{text}");
    }

    fn not_written(&mut self, error: &TrainError) {
        let error = error.to_string();
        if !self.missed.contains(&error) {
            note!("note: training goes on, but {error}");
            self.missed.insert(error);
        }
    }
}
