//! AdamW (Loshchilov and Hutter 2019) on the flat parameter vector: schedule, clipping, averaging.

use crate::config::{OptimizerConfig, Schedule};
use crate::nn::{Loop, ParamTable, Role};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Added to the root of the second moment.
const EPSILON: f32 = 1e-8;

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps done before this one.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
}

/// First and second moments, laid out like the parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    m: Vec<f32>,
    v: Vec<f32>,
    /// Gradients that they have seen; fewer than the steps of a run that began with other weights.
    seen: u64,
}

impl Adam {
    /// No history.
    pub fn new(len: usize) -> Adam {
        Adam {
            m: vec![0.0; len],
            v: vec![0.0; len],
            seen: 0,
        }
    }

    /// Whether the moments are those of `len` parameters.
    pub fn fits(&self, len: usize) -> bool {
        self.m.len() == len && self.v.len() == len
    }

    /// Forgets the past of parameters that were set anew.
    pub fn forget(&mut self, range: Range<usize>) {
        self.m[range.clone()].fill(0.0);
        self.v[range].fill(0.0);
    }

    /// One update of all parameters.
    pub fn update(
        &mut self,
        config: &OptimizerConfig,
        table: &ParamTable,
        progress: Progress,
        grads: &[f32],
        params: &mut [f32],
    ) {
        let lr = learning_rate(config, progress);
        let [b1, b2] = config.betas;
        self.seen += 1;
        let t = self.seen as f64;
        let rate = (lr / (1.0 - b1.powf(t))) as f32;
        let correction = (1.0 / (1.0 - b2.powf(t))) as f32;
        // 1 - 0.999 in f32 would be wrong by 5e-5 of itself, which the correction does not repeat.
        let shares = [b1, b2].map(|b| [b as f32, (1.0 - b) as f32]);
        for entry in &table.entries {
            let r = entry.range.clone();
            let shrink = match entry.role {
                Role::Weight => 1.0 - (lr * config.weight_decay) as f32,
                Role::Bias => 1.0,
                Role::Statistic { rate } => {
                    follow(rate as f32, &grads[r.clone()], &mut params[r]);
                    continue;
                }
                Role::State => continue,
            };
            let parts = params[r.clone()].par_chunks_mut(PART);
            let moments = self.m[r.clone()]
                .par_chunks_mut(PART)
                .zip(self.v[r.clone()].par_chunks_mut(PART));
            let parts = parts.zip(moments).zip(grads[r].par_chunks(PART));
            parts.for_each(|((p, (m, v)), g)| {
                let part = Part {
                    p,
                    m,
                    v,
                    g,
                    shares,
                    rate,
                    correction,
                    shrink,
                };
                part.run_wide();
            });
        }
    }
}

/// Parameters that are updated by one thread in one go.
const PART: usize = 1 << 14;

/// Some parameters, their moments and gradients.
struct Part<'a> {
    p: &'a mut [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    g: &'a [f32],
    /// Of the past and of the new gradient, in each moment.
    shares: [[f32; 2]; 2],
    rate: f32,
    correction: f32,
    shrink: f32,
}

impl Loop for Part<'_> {
    type Float = f32;

    #[inline(always)]
    fn run(self) {
        let [[m_old, m_new], [v_old, v_new]] = self.shares;
        let moments = self.m.iter_mut().zip(self.v.iter_mut());
        for ((p, (m, v)), &g) in self.p.iter_mut().zip(moments).zip(self.g) {
            *m = m_old * *m + m_new * g;
            *v = v_old * *v + v_new * g * g;
            *p = *p * self.shrink - self.rate * *m / ((*v * self.correction).sqrt() + EPSILON);
        }
    }
}

/// p <- p + rate (v - p).
fn follow(rate: f32, values: &[f32], params: &mut [f32]) {
    let params = params.par_iter_mut().with_min_len(PART);
    params.zip(values).for_each(|(p, &v)| *p += rate * (v - *p));
}

/// Linear warm-up, then the schedule down to `final_lr * lr` at the last step.
pub fn learning_rate(config: &OptimizerConfig, progress: Progress) -> f64 {
    let Progress { step, steps } = progress;
    if step < config.warmup {
        return config.lr * (step + 1) as f64 / config.warmup as f64;
    }
    let span = steps.saturating_sub(config.warmup).max(1) as f64;
    let done = ((step - config.warmup) as f64 / span).min(1.0);
    let last = config.final_lr;
    let share = match config.schedule {
        Schedule::Cosine => {
            let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
            last + (1.0 - last) * cosine
        }
        Schedule::Linear => last + (1.0 - last) * (1.0 - done),
        Schedule::Step => {
            let drops = f64::from(config.drops);
            last.powf((done * (drops + 1.0)).floor().min(drops) / drops)
        }
        Schedule::Constant => 1.0,
    };
    config.lr * share
}

/// Moves the average of the parameters by one step: a <- d a + (1 - d) p. What is not learnt by a
/// gradient is copied.
///
/// `step` counts from 0. The first steps lie far from where they lead and are forgotten soon:
/// d = min(decay, (1 + step) / (10 + step)).
pub fn average(decay: f64, table: &ParamTable, step: u64, params: &[f32], averaged: &mut [f32]) {
    let t = step as f64;
    let rate = (1.0 - decay.min((1.0 + t) / (10.0 + t))) as f32;
    for entry in &table.entries {
        let values = &params[entry.range.clone()];
        let averaged = &mut averaged[entry.range.clone()];
        if entry.role.learns() {
            follow(rate, values, averaged);
        } else {
            averaged.copy_from_slice(values);
        }
    }
}

/// The gradients' Euclidean norm; when it is above `limit` (and that is not 0) they are scaled to it.
pub fn clip(table: &ParamTable, grads: &mut [f32], limit: f64) -> f64 {
    let learnt = || table.entries.iter().filter(|entry| entry.role.learns());
    let squares = |part: &[f32]| part.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
    let mut norm = 0.0;
    for entry in learnt() {
        // Parts that do not depend on the number of threads.
        let parts: Vec<f64> = grads[entry.range.clone()]
            .par_chunks(PART)
            .map(squares)
            .collect();
        norm += parts.into_iter().sum::<f64>();
    }
    let norm = norm.sqrt();
    if limit > 0.0 && norm > limit {
        let scale = (limit / norm) as f32;
        for entry in learnt() {
            grads[entry.range.clone()]
                .iter_mut()
                .for_each(|g| *g *= scale);
        }
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Init;

    fn at(step: u64, steps: u64) -> Progress {
        Progress { step, steps }
    }

    #[test]
    fn first_step_moves_by_the_learning_rate_against_the_sign() {
        let mut table = ParamTable::default();
        table.add("w".into(), &[2], Init::Zero, Role::Weight);
        let config = OptimizerConfig {
            lr: 0.1,
            warmup: 0,
            final_lr: 1.0,
            ..Default::default()
        };
        let mut p = [1.0, -2.0];
        Adam::new(2).update(&config, &table, at(0, 10), &[3.0, -0.5], &mut p);
        assert!(
            (p[0] - 0.9).abs() < 1e-6 && (p[1] + 1.9).abs() < 1e-6,
            "{p:?}"
        );
    }

    #[test]
    fn a_first_step_late_in_a_run_is_corrected_as_a_first_one() {
        let mut table = ParamTable::default();
        table.add("w".into(), &[1], Init::Zero, Role::Weight);
        let config = OptimizerConfig {
            lr: 0.1,
            schedule: Schedule::Constant,
            ..Default::default()
        };
        let mut p = [1.0];
        Adam::new(1).update(&config, &table, at(900, 1000), &[3.0], &mut p);
        assert!((p[0] - 0.9).abs() < 1e-6, "{p:?}");
    }

    #[test]
    fn matches_adamw_by_hand_over_two_steps() {
        let mut table = ParamTable::default();
        table.add("w".into(), &[1], Init::Zero, Role::Weight);
        let config = OptimizerConfig {
            lr: 0.01,
            warmup: 0,
            final_lr: 1.0,
            weight_decay: 0.1,
            ..Default::default()
        };
        let (mut adam, mut p) = (Adam::new(1), [0.5f32]);
        let (mut w, mut m, mut v) = (0.5f64, 0.0, 0.0);
        for (t, g) in [(1, 0.2f64), (2, -0.4)] {
            adam.update(&config, &table, at(t - 1, 10), &[g as f32], &mut p);
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            w *= 1.0 - 0.01 * 0.1;
            let (mh, vh) = (
                m / (1.0 - 0.9f64.powi(t as i32)),
                v / (1.0 - 0.999f64.powi(t as i32)),
            );
            w -= 0.01 * mh / (vh.sqrt() + 1e-8);
            assert!((f64::from(p[0]) - w).abs() < 1e-6, "step {t}: {} {w}", p[0]);
        }
    }

    #[test]
    fn statistics_follow_and_state_stays() {
        let mut table = ParamTable::default();
        table.add(
            "mean".into(),
            &[1],
            Init::Zero,
            Role::Statistic { rate: 0.25 },
        );
        table.add("codes".into(), &[1], Init::Zero, Role::State);
        let mut p = [1.0, 7.0];
        let config = OptimizerConfig::default();
        Adam::new(2).update(&config, &table, at(0, 10), &[3.0, 5.0], &mut p);
        assert_eq!(p, [1.5, 7.0]);
    }

    #[test]
    fn what_was_set_anew_has_no_momentum() {
        let mut table = ParamTable::default();
        table.add("codes".into(), &[3], Init::Zero, Role::Bias);
        let config = OptimizerConfig::default();
        let (mut adam, mut p) = (Adam::new(3), [0.0; 3]);
        adam.update(&config, &table, at(0, 10), &[1.0; 3], &mut p);
        adam.forget(1..2);
        let before = p;
        adam.update(&config, &table, at(1, 10), &[0.0; 3], &mut p);
        assert!(p[0] < before[0] && p[2] < before[2], "{p:?}");
        assert_eq!(p[1], before[1]);
    }

    #[test]
    fn schedule_warms_up_and_ends_at_the_final_rate() {
        let config = OptimizerConfig {
            lr: 1.0,
            warmup: 10,
            final_lr: 0.1,
            ..Default::default()
        };
        assert!((learning_rate(&config, at(0, 110)) - 0.1).abs() < 1e-12);
        assert!((learning_rate(&config, at(9, 110)) - 1.0).abs() < 1e-12);
        assert!((learning_rate(&config, at(60, 110)) - 0.55).abs() < 1e-12);
        assert!((learning_rate(&config, at(110, 110)) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn each_schedule_falls_as_it_says() {
        let rate = |schedule, step| {
            let config = OptimizerConfig {
                lr: 2.0,
                warmup: 10,
                final_lr: 0.01,
                schedule,
                ..Default::default()
            };
            learning_rate(&config, at(step, 310))
        };
        for (schedule, step, expected) in [
            (Schedule::Linear, 160, 1.01),
            (Schedule::Linear, 310, 0.02),
            (Schedule::Step, 109, 2.0),
            (Schedule::Step, 110, 0.2),
            (Schedule::Step, 209, 0.2),
            (Schedule::Step, 210, 0.02),
            (Schedule::Step, 310, 0.02),
            (Schedule::Constant, 309, 2.0),
        ] {
            let found = rate(schedule, step);
            assert!(
                (found - expected).abs() < 1e-12,
                "{schedule:?} {step}: {found}"
            );
            assert!(
                (rate(schedule, 4) - 1.0).abs() < 1e-12,
                "{schedule:?} warms up"
            );
        }
    }

    #[test]
    fn the_average_forgets_its_start_and_then_decays() {
        let mut table = ParamTable::default();
        table.add("w".into(), &[1], Init::Zero, Role::Weight);
        table.add("codes".into(), &[1], Init::Zero, Role::State);
        let mut a = [0.0, 0.0];
        average(0.5, &table, 0, &[1.0, 7.0], &mut a);
        assert!((a[0] - 0.9).abs() < 1e-6, "a tenth of the first: {a:?}");
        average(0.5, &table, 100, &[0.0, 8.0], &mut a);
        assert!((a[0] - 0.45).abs() < 1e-6, "half of the past: {a:?}");
        assert_eq!(a[1], 8.0, "codes are not averaged");
    }

    #[test]
    fn clipping_keeps_the_direction() {
        let mut table = ParamTable::default();
        table.add("w".into(), &[2], Init::Zero, Role::Weight);
        table.add(
            "mean".into(),
            &[1],
            Init::Zero,
            Role::Statistic { rate: 0.1 },
        );
        let mut g = [3.0, 4.0, 100.0];
        assert!((clip(&table, &mut g, 1.0) - 5.0).abs() < 1e-9);
        assert!((g[0] - 0.6).abs() < 1e-6 && (g[1] - 0.8).abs() < 1e-6);
        assert_eq!(
            g[2], 100.0,
            "what is no gradient is neither counted nor cut"
        );
        assert!((clip(&table, &mut g, 0.0) - 1.0).abs() < 1e-6);
    }
}
