"""The workloads of the training comparison as PyTorch modules, and their codebook.

Layers stand in the order in which the configurations of `vq` name them, so that both sides' parameters
can be walked in step. Maps are NCHW; `channels_last` changes only how they lie in memory.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Codebook(nn.Module):
    """K codes of D numbers that follow the vectors that choose them (van den Oord 2017, appendix A.1)."""

    def __init__(self, codes, dim, decay=0.99):
        super().__init__()
        self.decay = decay
        self.register_buffer("table", torch.randn(codes, dim))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.table.clone())

    def place(self, table):
        """Starts at these codes, each as if it had been chosen once."""
        self.table.copy_(table)
        self.sums.copy_(table)
        self.counts.fill_(1)

    @torch.no_grad()
    def scores(self, z):
        """Half the squared distances of vectors [P, D] to all codes, up to |z|^2 / 2: [P, K]."""
        half_norms = self.table.square().sum(1) / 2
        return torch.addmm(half_norms, z, self.table.t(), alpha=-1)

    @torch.no_grad()
    def update(self, z, chosen):
        """One step of the moving averages on vectors [P, D] and their choices [P]."""
        counts = torch.bincount(chosen, minlength=len(self.counts)).to(z.dtype)
        sums = torch.zeros_like(self.sums).index_add_(0, chosen, z)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + 1e-5) * (total / (total + len(self.counts) * 1e-5))
        torch.div(self.sums, smoothed[:, None], out=self.table)


class VqVae(nn.Module):
    """Encoder, codebook, decoder."""

    def __init__(self, encoder, codebook, decoder):
        super().__init__()
        self.encoder, self.codebook, self.decoder = encoder, codebook, decoder

    def forward(self, x):
        """The reconstruction, the commitment term, the latent vectors [P, D] and their choices [P]."""
        z = self.encoder(x)
        n, dim, h, w = z.shape
        flat = z.permute(0, 2, 3, 1).reshape(-1, dim)
        chosen = self.codebook.scores(flat).argmin(1)
        q = F.embedding(chosen, self.codebook.table)
        commitment = F.mse_loss(flat, q)
        passed = (flat + (q - flat).detach()).view(n, h, w, dim).permute(0, 3, 1, 2)
        return self.decoder(passed), commitment, flat.detach(), chosen


def minimise(model, adam, x, variance):
    """One step of the weights: the loss and its parts, then the latent vectors and their choices.

    The codebook's moving averages are still to be updated by the last two.
    """
    y, commitment, z, chosen = model(x)
    mse = F.mse_loss(y, x)
    loss = mse / variance + 0.25 * commitment
    adam.zero_grad()
    loss.backward()
    adam.step()
    return {"loss": loss.item(), "mse": mse.item(), "commitment": commitment.item()}, z, chosen


class Discriminator(nn.Module):
    """A PatchGAN (Isola 2017)."""

    def __init__(self, norm="batch", channels=64, layers=3):
        super().__init__()
        stages, c = [], 3
        for i in range(layers + 1):
            batch = i > 0 and norm == "batch"
            out = channels << min(i, 3)
            parts = [nn.Conv2d(c, out, 4, 2 if i < layers else 1, 1, bias=not batch)]
            parts += [nn.BatchNorm2d(out)] if batch else []
            stages.append(nn.Sequential(*parts, nn.LeakyReLU(0.2)))
            c = out
        self.stages = nn.ModuleList(stages)
        self.last = nn.Conv2d(c, 1, 4, 1, 1)

    def forward(self, x):
        """Logits, and the features of every stage."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return self.last(x), features


def of_real(kind, logits):
    """Half the discriminator's loss of pictures; reconstructions cost as much with the sign changed."""
    return 0.5 * (F.relu(1 - logits) if kind == "hinge" else F.softplus(-logits)).mean()


def of_generator(kind, logits):
    return F.softplus(-logits).mean() if kind == "nonsaturating" else -logits.mean()


def alternate(
    nets, adams, x, averages, kind="hinge", adaptive=True, weight=0.8, features=0.0, lecam=0.05, decay=0.9
):
    """A step of both sides on the same reconstructions: figures, latent vectors and their choices.

    `averages` are LeCAM's, empty before the first step. One pass of each picture and each reconstruction
    through the discriminator serves both sides.
    """
    model, critic = nets
    y, commitment, z, chosen = model(x)
    real, targets = critic(x)
    fake, found = critic(y)
    rec = (y - x).abs().mean()
    if features > 0:
        rec = rec + features * sum((b - a.detach()).abs().mean() for a, b in zip(targets, found))
    g = of_generator(kind, fake)
    balance = weight
    if adaptive:
        last = [m for m in model.decoder if hasattr(m, "weight")][-1].weight
        norms = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (rec, g)]
        balance = (weight * (norms[0] / (norms[1] + 1e-4)).clamp(0, 1e4)).item()
    loss = rec + balance * g + 0.25 * commitment
    d = of_real(kind, real) + of_real(kind, -fake)
    means = (real.mean().item(), fake.mean().item())
    if not averages:
        averages.extend(means)
    apart = F.relu(real - averages[1]).square().mean() + F.relu(averages[0] - fake).square().mean()
    averages[:] = [decay * a + (1 - decay) * b for a, b in zip(averages, means)]
    of_critic = torch.autograd.grad(d + lecam * apart, list(critic.parameters()), retain_graph=True)
    of_model = torch.autograd.grad(loss, list(model.parameters()))
    for net, adam, grads in zip(nets, adams, (of_model, of_critic)):
        for p, grad in zip(net.parameters(), grads):
            p.grad = grad
        adam.step()
    figures = {"loss": loss.item(), "g": g.item(), "weight": balance, "d": d.item()}
    return figures | {"real": means[0], "fake": means[1], "perplexity": perplexity(chosen)}, z, chosen


def perplexity(chosen):
    """exp of the entropy of a batch's codes."""
    share = torch.bincount(chosen).double() / len(chosen)
    share = share[share > 0]
    return (-share * share.log()).sum().exp().item()


class Residual(nn.Module):
    """x + f(x), then ReLU if asked for."""

    def __init__(self, *layers, relu=False):
        super().__init__()
        self.inner, self.relu = nn.Sequential(*layers), relu

    def forward(self, x):
        y = self.inner(x) + x
        return y.relu_() if self.relu else y


def conv(c_in, c_out, kernel=3, stride=1, bias=True):
    return nn.Conv2d(c_in, c_out, kernel, stride, (kernel - stride) // 2, bias=bias)


def transposed(c_in, c_out):
    return nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)


def relu():
    return nn.ReLU(inplace=True)


def sonnet_cifar10(hidden=128):
    """32x32, 8x8 codes: the VQ-VAE of 2017 as in Sonnet's example."""
    half, inner = hidden // 2, hidden // 4

    def block():
        # The first ReLU keeps its input, which the sum needs.
        narrow, wide = conv(hidden, inner, bias=False), conv(inner, hidden, 1, bias=False)
        return Residual(nn.ReLU(), narrow, relu(), wide)

    encoder = nn.Sequential(
        conv(3, half, 4, 2), relu(), conv(half, hidden, 4, 2), relu(), conv(hidden, hidden),
        block(), block(), relu(), conv(hidden, 64, 1),
    )  # fmt: skip
    decoder = nn.Sequential(
        conv(64, hidden), block(), block(), relu(), transposed(hidden, half), relu(),
        transposed(half, 3),
    )  # fmt: skip
    return VqVae(encoder, Codebook(512, 64), decoder)


def micro():
    """128x128, 16x16 codes: the layers of configs/micro.toml."""

    def block(channels, inner):
        return Residual(conv(channels, inner), relu(), conv(inner, channels, 1), relu=True)

    encoder = nn.Sequential(
        nn.PixelUnshuffle(2), conv(12, 48), relu(), conv(48, 64, 4, 2), relu(), block(64, 32),
        conv(64, 128, 4, 2), relu(), block(128, 64), block(128, 64), block(128, 64), conv(128, 8, 1),
    )  # fmt: skip
    decoder = nn.Sequential(
        conv(8, 72), relu(), block(72, 28), block(72, 28), transposed(72, 32), relu(),
        transposed(32, 12), relu(), conv(12, 12), nn.PixelShuffle(2),
    )  # fmt: skip
    return VqVae(encoder, Codebook(512, 8), decoder)


def norm(channels):
    return nn.GroupNorm(min(32, channels), channels, eps=1e-6)


class ResBlock(nn.Module):
    """GroupNorm, swish, 3x3, twice; a 1x1 shortcut where channels change (Esser 2021)."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.norm1, self.conv1 = norm(c_in), conv(c_in, c_out)
        self.norm2, self.conv2 = norm(c_out), conv(c_out, c_out)
        self.shortcut = conv(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.shortcut(x) + h


class Attention(nn.Module):
    """One head over all positions of a map, with a skip."""

    def __init__(self, channels):
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.out = (conv(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.out(y.transpose(1, 2).reshape(x.shape))


class Down(nn.Module):
    """Zeros to the right and below, then 3x3 of stride 2."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


def vqgan_64(ch=32, mult=(1, 2, 2), blocks=1, z=64, dim=8, codes=512):
    """64x64, 16x16 codes: a small autoencoder of taming-transformers' form, attention at 16x16."""
    sizes = [ch * m for m in mult]

    def middle(c):
        return [ResBlock(c, c), Attention(c), ResBlock(c, c)]

    c, down = ch, [conv(3, ch)]
    for level, size in enumerate(sizes):
        last = level == len(sizes) - 1
        for _ in range(blocks):
            down += [ResBlock(c, size)] + ([Attention(size)] if last else [])
            c = size
        down += [] if last else [Down(c)]
    encoder = nn.Sequential(*down, *middle(c), norm(c), nn.SiLU(), conv(c, z), conv(z, dim, 1))

    up = [conv(dim, z, 1), conv(z, c), *middle(c)]
    for level, size in reversed(list(enumerate(sizes))):
        for _ in range(blocks + 1):
            up += [ResBlock(c, size)] + ([Attention(size)] if level == len(sizes) - 1 else [])
            c = size
        up += [nn.Upsample(scale_factor=2), conv(c, c)] if level > 0 else []
    decoder = nn.Sequential(*up, norm(c), nn.SiLU(), conv(c, 3))
    return VqVae(encoder, Codebook(codes, dim), decoder)


# Name to constructor and the side of its square pictures.
WORKLOADS = {
    "sonnet-cifar10": (sonnet_cifar10, 32),
    "micro": (micro, 128),
    "vqgan-64": (vqgan_64, 64),
}
