//! Training is a function of configuration and data: neither threads nor interruptions change a bit.

use crate::Lab;
use crate::lab::CONFIG;
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use vq_train::checkpoint::Checkpoint;

const CHECKPOINT: &str = "run/checkpoint.vqck";
const STEPS: u64 = 800;
const INTERRUPTIONS: u64 = 10;

#[test]
fn the_seed_decides_the_weights_and_threads_do_not() {
    let lab = Lab::new();
    let train = |options: &str, out: &str| {
        lab.ok(&format!(
            "train tiny.toml --data photos --out {out} {options}"
        ));
        lab.read(&format!("{out}/checkpoint.vqck"))
    };
    let reference = train("--seed 1", "default");
    for threads in 1..=4 {
        let weights = train(&format!("--threads {threads}"), &format!("t{threads}"));
        assert!(weights == reference, "{threads} threads");
    }
    assert!(train("--seed 2", "other") != reference);
}

#[test]
fn ten_interruptions_leave_the_run_as_if_undisturbed() {
    let lab = Lab::new();
    let config = CONFIG
        .replace("steps = 30", &format!("steps = {STEPS}"))
        .replace("checkpoint_every = 5", "checkpoint_every = 4")
        .replace("[optimizer]", "[optimizer]\nema = 0.9");
    lab.write("long.toml", config);
    lab.ok("train long.toml --data photos --out whole");
    for i in 0..INTERRUPTIONS {
        interrupt(&lab, i);
    }
    let step = Checkpoint::load(&lab.path(CHECKPOINT)).unwrap().step;
    assert!(step < STEPS, "the last interruption came too late");
    lab.ok("train long.toml --data photos --out run --resume");
    assert!(lab.read(CHECKPOINT) == lab.read("whole/checkpoint.vqck"));
    let end = Checkpoint::load(&lab.path(CHECKPOINT)).unwrap();
    assert_ne!(end.averaged, Some(end.params), "the average is no average");
    assert_eq!(steps(&lab, "run"), steps(&lab, "whole"));
    let left = |path: &std::path::PathBuf| path.to_string_lossy().contains(".part");
    assert_eq!(lab.files().keys().find(|p| left(p)), None);
    // A finished run may be resumed, and stays as it is.
    lab.ok("train long.toml --data photos --out run --resume");
    assert!(lab.read(CHECKPOINT) == lab.read("whole/checkpoint.vqck"));
}

/// Starts or resumes the run, and stops it a while after it has written another checkpoint: killed
/// in even rounds, asked to by Ctrl-C or SIGTERM in odd ones. The first is killed without any waiting for one.
fn interrupt(lab: &Lab, round: u64) {
    let before = std::fs::read(lab.path(CHECKPOINT)).ok();
    let mut child = lab
        .command("train long.toml --data photos --out run --resume")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if round > 0 {
        await_checkpoint(lab, before.as_deref());
    }
    sleep(Duration::from_millis(round * 7919 % 37));
    if round.is_multiple_of(2) {
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it was over before");
    } else {
        send(&child, if round % 4 == 1 { "INT" } else { "TERM" });
        stopped(child);
    }
}

/// Waits until the run has a checkpoint other than the one before.
fn await_checkpoint(lab: &Lab, before: Option<&[u8]>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::read(lab.path(CHECKPOINT)).ok().as_deref() == before {
        assert!(Instant::now() < deadline, "no checkpoint within a minute");
        sleep(Duration::from_millis(1));
    }
}

fn send(child: &Child, signal: &str) {
    let line = format!("kill -{signal} {}", child.id());
    let status = Command::new("sh").args(["-c", &line]).status().unwrap();
    assert!(status.success());
}

/// The training ends because it was asked to, saves and succeeds.
fn stopped(child: Child) {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("stopped; --resume goes on"), "{stderr}");
}

/// A lab with `endless.toml`, whose training only ends when it is stopped.
fn endless() -> Lab {
    let lab = Lab::new();
    let config = CONFIG
        .replace("steps = 30", "steps = 10000000")
        .replace("validate_every = 20", "validate_every = 10000000");
    lab.write("endless.toml", config);
    lab
}

/// `env` sets what the signal does to a program that does nothing about it, as `nohup` does.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_that_closes_stops_a_training_unless_it_is_to_live_on() {
    let lab = endless();
    let train = |hangup: &str| {
        let vq = env!("CARGO_BIN_EXE_vq");
        let before = std::fs::read(lab.path(CHECKPOINT)).ok();
        let line =
            format!("exec env {hangup} {vq} train endless.toml --data photos --out run --resume");
        let child = lab.shell(&line).stderr(Stdio::piped()).spawn().unwrap();
        await_checkpoint(&lab, before.as_deref());
        child
    };
    let child = train("--default-signal=HUP");
    // A shell that ends and the system may both say so.
    send(&child, "HUP");
    send(&child, "HUP");
    stopped(child);
    let mut child = train("--ignore-signal=HUP");
    send(&child, "HUP");
    await_checkpoint(&lab, Some(&lab.read(CHECKPOINT)));
    assert!(child.try_wait().unwrap().is_none(), "it lives on");
    send(&child, "TERM");
    stopped(child);
}

#[cfg(unix)]
#[test]
fn a_run_is_written_by_one_process_at_a_time() {
    let lab = endless();
    let train = "train endless.toml --data photos --out run";
    let start = || {
        let mut command = lab.command(&format!("{train} --resume"));
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut child = start();
    await_checkpoint(&lab, None);
    for line in [
        train,
        &format!("{train} --resume"),
        &format!("{train} --seed 9"),
    ] {
        let second = lab.vq(line);
        assert_eq!(second.code, Some(1));
        let words = "another process is writing the run in run";
        assert!(second.stderr.contains(words), "{}", second.stderr);
    }
    // The lock is gone with the process, however that ends.
    child.kill().unwrap();
    child.wait().unwrap();
    let before = lab.read(CHECKPOINT);
    let child = start();
    await_checkpoint(&lab, Some(&before));
    send(&child, "TERM");
    stopped(child);
    let left = |path: &std::path::PathBuf| path.to_string_lossy().contains(".lock");
    assert_eq!(lab.files().keys().find(|p| left(p)), None);
}

#[test]
fn of_two_trainings_that_start_at_once_one_is_refused() {
    let lab = Lab::new();
    let start = |seed: u32| {
        let line = format!("train tiny.toml --data photos --out run --steps 300 --seed {seed}");
        let mut command = lab.command(&line);
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [1, 2].map(start).map(|c| c.wait_with_output().unwrap());
    let mut codes = both.each_ref().map(|output| output.status.code());
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(1)], "{both:?}");
    let seed = if both[0].status.success() { 1 } else { 2 };
    let log = String::from_utf8(lab.read("run/log.jsonl")).unwrap();
    assert!(log.contains("\"step\":300"), "{log}");
    let run = Checkpoint::load(&lab.path(CHECKPOINT)).unwrap();
    assert_eq!(run.step, 300);
    assert!(
        run.config.contains(&format!("seed = {seed}")),
        "{}",
        run.config
    );
}

/// The log's lines about steps: each logged step once, in order, with all its figures.
fn steps(lab: &Lab, run: &str) -> Vec<String> {
    let log = String::from_utf8(lab.read(&format!("{run}/log.jsonl"))).unwrap();
    let of_step = |line: &&str| line.contains("\"kind\":\"step\"");
    log.lines().filter(of_step).map(String::from).collect()
}

#[test]
fn a_run_is_neither_overwritten_nor_resumed_as_another() {
    let lab = Lab::trained();
    let train = "train tiny.toml --data photos --out run";
    lab.refused(train, &[CHECKPOINT, "--resume"]);
    for other in ["--seed 7", "--steps 31"] {
        lab.refused(
            &format!("{train} --resume {other}"),
            &[CHECKPOINT, "another configuration", "run/config.toml"],
        );
    }
    let mut damaged = lab.read(CHECKPOINT);
    damaged[1000] ^= 4;
    lab.write(CHECKPOINT, damaged);
    lab.refused(&format!("{train} --resume"), &[CHECKPOINT, "damaged"]);
}

#[test]
fn a_run_starts_from_another_ones_weights_and_is_then_its_own() {
    let lab = Lab::trained();
    let tuned = CONFIG.replace("[train]", "[loss]\nkind = 'l1'\n[train]");
    lab.write("tuned.toml", &tuned);
    let line = "train tuned.toml --data photos --from run --out tuned";
    let report = lab.json(line);
    assert_eq!(report["steps"], 30);
    let fresh = lab.json("train tuned.toml --data photos --out fresh");
    let nmse = |report: &Value| report["nmse"].as_f64().unwrap();
    assert!(nmse(&report) < nmse(&fresh), "{report} {fresh}");
    // The same command with --resume goes on from what it made itself.
    let kept = lab.read("tuned/checkpoint.vqck");
    lab.ok(&format!("{line} --resume"));
    assert!(lab.read("tuned/checkpoint.vqck") == kept);
    lab.write("wider.toml", CONFIG.replace("codes = 16", "codes = 32"));
    lab.refused(
        "train wider.toml --data photos --from run --out wider",
        &["run: ", "[16, 4]", "[32, 4]", "other layers"],
    );
}

#[test]
fn values_that_are_not_finite_stop_the_run_and_name_the_place() {
    let lab = Lab::new();
    let config = CONFIG
        .replace("warmup = 5", "warmup = 0\nlr = 1e30\nclip = 0.0")
        .replace("checkpoint_every = 5", "checkpoint_every = 1");
    lab.write("wild.toml", config);
    let outcome = lab.vq("train wild.toml --data photos --out run --json");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""));
    for word in [
        "step 1:",
        "coder layer",
        "(conv)",
        "not finite",
        "optimizer.lr",
    ] {
        assert!(outcome.stderr.contains(word), "{}", outcome.stderr);
    }
    let kept = Checkpoint::load(&lab.path(CHECKPOINT)).unwrap();
    assert!(kept.step == 1 && kept.params.iter().all(|p| p.is_finite()));
}
