"""Every quantiser in PyTorch (float64, autograd), written from the formulas and not from the Rust code.

    python3 tests/oracle/quantizers.py

rewrites quantizers.json beside this file: configurations as TOML has them, parameters, vectors z, and for
each case codes, values, own loss, and gradients of own loss + sum(values * probe). For `ema` also the state
after some updates.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

VECTORS = 20
CASES = [
    {"kind": "ema", "codes": 8, "dim": 4, "restart": 0.0, "decay": 0.9},
    {"kind": "ema", "codes": 8, "dim": 4, "restart": 0.0, "decay": 0.9, "cosine": True},
    {"kind": "ema", "codes": 8, "dim": 4, "rotation": True},
    {"kind": "ema", "codes": 8, "dim": 4, "entropy": {"weight": 0.5, "temperature": 0.7}},
    {"kind": "ema", "codes": 6, "dim": 4, "stages": 3},
    {"kind": "gradient", "codes": 8, "dim": 4, "commitment": 0.4},
    {"kind": "gradient", "codes": 8, "dim": 4, "cosine": True, "rotation": True},
    {"kind": "gradient", "codes": 8, "dim": 4, "entropy": {"weight": 0.5, "temperature": 0.7}},
    {"kind": "gradient", "codes": 6, "dim": 6, "groups": 2, "rotation": True},
    {"kind": "gradient", "codes": 6, "dim": 4, "stages": 3, "rotation": True},
    {"kind": "gradient", "codes": 5, "dim": 4, "stages": 2, "groups": 2},
    {"kind": "simvq", "codes": 8, "dim": 4},
    {"kind": "simvq", "codes": 8, "dim": 4, "entropy": {"weight": 0.3, "temperature": 1.5}},
    {"kind": "fsq", "dim": 4, "levels": [8, 5, 4, 3]},
    {"kind": "gumbel", "codes": 8, "dim": 4, "gumbel": {"temperature": [0.8, 0.8], "steps": 9, "kl": 0.2}},
]


def normal(*shape):
    """Numbers that float32 holds exactly."""
    return torch.randn(*shape).float().double()


def names(config):
    """The prefix of each codebook's parameters, by stage and group."""
    stages, groups = config.get("stages", 1), config.get("groups", 1)
    part = lambda i, n: f".{i}" if n > 1 else ""
    return [[f"quantizer{part(s, stages)}{part(g, groups)}" for g in range(groups)] for s in range(stages)]


def parameters(config):
    kind, k = config["kind"], config.get("codes")
    d = config["dim"] // config.get("groups", 1)
    shapes = {
        "ema": {"codebook": (k, d), "counts": (k,), "sums": (k, d)},
        "gradient": {"codebook": (k, d), "counts": (k,)},
        "simvq": {"fixed": (k, d), "weight": (d, d)},
        "gumbel": {"weight": (d, k), "bias": (k,), "codebook": (k, d), "steps": (1,)},
        "fsq": {},
    }[kind]
    prefixes = [name for stage in names(config) for name in stage]
    p = {f"{prefix}.{n}": normal(*shape) for prefix in prefixes for n, shape in shapes.items()}
    for name, value in p.items():
        if name.endswith("counts"):
            value.abs_().add_(0.5)
        if name.endswith("steps"):
            value.zero_()
    return p


def rotated(e, q):
    """The rotation trick: q in value, with the gradient of e rotated and scaled by constants."""
    e0, q0 = e.detach(), q.detach()
    eh, qh = F.normalize(e0, dim=-1), F.normalize(q0, dim=-1)
    r = F.normalize(eh + qh, dim=-1)
    s = q0.norm(dim=-1, keepdim=True) / e0.norm(dim=-1, keepdim=True)
    dot = lambda a, b: (a * b).sum(-1, keepdim=True)
    return s * (e - 2 * r * dot(r, e) + 2 * qh * dot(eh, e))


def passed(e, q, config):
    return rotated(e, q) if config.get("rotation") else e + (q - e).detach()


def codebook(config, p, prefix, z):
    """Codes, entries without any gradient to z, vectors as compared, and own terms of one codebook."""
    kind = config["kind"]
    table = p[f"{prefix}.fixed"] @ p[f"{prefix}.weight"] if kind == "simvq" else p[f"{prefix}.codebook"]
    if kind == "ema":
        table = table.detach()
    if config.get("cosine"):
        z, table = F.normalize(z, dim=-1), F.normalize(table, dim=-1)
    distance = (z[:, None] - table[None]).pow(2).sum(-1)
    codes = distance.argmin(1)
    q = table[codes]
    loss = config.get("commitment", 0.25) * F.mse_loss(z, q.detach())
    if kind != "ema":
        loss = loss + F.mse_loss(q, z.detach())
    if "entropy" in config:
        log_p = F.log_softmax(-distance / config["entropy"]["temperature"], dim=1)
        mean = log_p.exp().mean(0)
        sure = -(log_p.exp() * log_p).sum(1).mean()
        loss = loss + config["entropy"]["weight"] * (sure + (mean * mean.log()).sum())
    return codes, q, z, loss / config.get("groups", 1)


def nearest(config, p, z):
    rest, codes, values, total = z, [], [], 0.0
    groups = config.get("groups", 1)
    for stage in names(config):
        parts = [codebook(config, p, n, part) for n, part in zip(stage, rest.chunk(groups, -1))]
        codes += [c for c, _, _, _ in parts]
        total = total + sum(loss for _, _, _, loss in parts)
        values.append([q for _, q, _, _ in parts])
        compared = [u for _, _, u, _ in parts]
        rest = rest - torch.cat(values[-1], -1).detach()
    sums = [sum(stage[g] for stage in values) for g in range(groups)]
    start = z.chunk(groups, -1) if len(values) > 1 else compared
    out = torch.cat([passed(u, q, config) for u, q in zip(start, sums)], -1)
    return torch.stack(codes), out, total


def fsq(config, p, z):
    levels = torch.tensor(config["levels"], dtype=torch.float64)
    h = (levels - 1) * (1 - 1e-3) / 2
    o = torch.where(levels % 2 == 0, 0.5, 0.0).double()
    bounded = torch.tanh(z + torch.atanh(o / h)) * h - o
    half = torch.floor(levels / 2)
    rounded = bounded + (bounded.round() - bounded).detach()
    basis = torch.cat([torch.ones(1), levels[:-1]]).cumprod(0)
    codes = ((rounded + half) * basis).sum(1).round().long()
    return codes[None], rounded / half, torch.zeros((), dtype=torch.float64)


def gumbel(config, p, z, noise):
    logits = z @ p["quantizer.weight"] + p["quantizer.bias"]
    y = F.softmax((logits + noise) / config["gumbel"]["temperature"][0], dim=1)
    codes = y.argmax(1)
    hard = F.one_hot(codes, config["codes"]).double() - y.detach() + y
    # The rounding of "hard" cancels in the values but for its gradient.
    q = F.softmax(logits, dim=1)
    divergence = (q * (q * config["codes"]).log()).sum(1).mean()
    return codes[None], hard @ p["quantizer.codebook"], config["gumbel"]["kl"] * divergence


def ema_steps(config, p, batches):
    """The moving averages of numbers.md, batch after batch."""
    code, n, m = (p[f"quantizer.{name}"].clone() for name in ("codebook", "counts", "sums"))
    g = config["decay"]
    for z in batches:
        table = code
        if config.get("cosine"):
            z, table = F.normalize(z, dim=-1), F.normalize(code, dim=-1)
        choice = F.one_hot(torch.cdist(z, table).argmin(1), config["codes"]).double()
        n = g * n + (1 - g) * choice.sum(0)
        m = g * m + (1 - g) * choice.T @ z
        smooth = (n + 1e-5) / (n.sum() + config["codes"] * 1e-5) * n.sum()
        code = m / smooth[:, None]
    return {"quantizer.codebook": code, "quantizer.counts": n, "quantizer.sums": m}


def flat(tensors):
    return {name: numbers(t) for name, t in tensors.items()}


def numbers(t):
    return [float(f"{x:.9g}") for x in t.detach().flatten().tolist()]


def case(config):
    p = parameters(config)
    learnt = {n: t.requires_grad_() for n, t in p.items() if config["kind"] != "ema" and not
              n.endswith(("counts", "fixed", "steps"))}
    z, probe = normal(VECTORS, config["dim"]).requires_grad_(), normal(VECTORS, config["dim"])
    result = {"config": config, "params": flat(p), "z": numbers(z), "probe": numbers(probe)}
    if config["kind"] == "gumbel":
        uniform = torch.rand(VECTORS, config["codes"], dtype=torch.float64) * 0.98 + 0.01
        noise = (-(-uniform.log()).log()).float().double()
        result["noise"] = numbers(noise)
        codes, values, loss = gumbel(config, p, z, noise)
    elif config["kind"] == "fsq":
        codes, values, loss = fsq(config, p, z)
    else:
        codes, values, loss = nearest(config, p, z)
    whole = loss + (values * probe).sum()
    whole.backward()
    result |= {
        "codes": codes.flatten().tolist(),
        "values": numbers(values),
        "loss": loss.item(),
        "dz": numbers(z.grad),
        "grads": flat({n: t.grad for n, t in learnt.items()}),
    }
    if config["kind"] == "ema" and config.get("restart") == 0.0:
        batches = [normal(VECTORS, config["dim"]) for _ in range(4)]
        result["batches"] = [numbers(b) for b in batches]
        result["updated"] = flat(ema_steps(config, p, batches))
    return result


def main():
    torch.manual_seed(2017)
    cases = [case(config) for config in CASES]
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    Path(__file__).with_name("quantizers.json").write_text(f"[\n{lines}\n]\n")


main()
