//! Which names and shapes are taken for which.

use super::*;

fn ours() -> Vec<Named> {
    let list: [(&str, &[usize]); 9] = [
        ("encoder.0.weight", &[8, 3, 4, 4]),
        ("encoder.0.bias", &[8]),
        ("encoder.1.weight", &[8, 8, 3, 3]),
        ("encoder.1.bias", &[8]),
        ("encoder.2.0.weight", &[8, 8, 3, 3]),
        ("decoder.0.weight", &[8, 3, 4, 4]),
        ("decoder.0.bias", &[3]),
        ("quantizer.codebook", &[16, 4]),
        ("quantizer.counts", &[16]),
    ];
    list.iter()
        .map(|(n, s)| (n.to_string(), s.to_vec()))
        .collect()
}

/// The file of an `nn.Sequential` whose activations have numbers too.
fn sequential() -> BTreeMap<String, Vec<usize>> {
    let renamed = [
        ("encoder.0.", "m.encoder.0."),
        ("encoder.1.", "m.encoder.2."),
        ("encoder.2.0.", "m.encoder.10.block.1."),
        ("decoder.0.", "m.decoder.3."),
        ("quantizer.codebook", "m.quantize.embedding.weight"),
    ];
    let entries = ours().into_iter().filter(|(n, _)| n != "quantizer.counts");
    let rename = |(name, shape): Named| {
        let found = renamed
            .iter()
            .find(|(from, _)| name.starts_with(from))
            .unwrap();
        (name.replace(found.0, found.1), shape)
    };
    entries.map(rename).collect()
}

fn names(text: &str) -> Names {
    Names::parse(text, "map").unwrap()
}

fn sources(theirs: &BTreeMap<String, Vec<usize>>, map: &str) -> Vec<Source> {
    pair(&ours(), theirs, &names(map)).unwrap().sources
}

fn fault(theirs: &BTreeMap<String, Vec<usize>>, map: &str) -> Faults {
    pair(&ours(), theirs, &names(map)).unwrap_err()
}

fn tensor(name: &str) -> Source {
    Source::Tensor(name.into())
}

fn renamed(from: &str, to: &str) -> BTreeMap<String, Vec<usize>> {
    let rename = |(name, shape): (String, Vec<usize>)| (name.replace(from, to), shape);
    let theirs: BTreeMap<_, _> = sequential().into_iter().map(rename).collect();
    assert_ne!(theirs, sequential());
    theirs
}

#[test]
fn equal_names_win_whatever_stands_before_them() {
    for prefix in ["", "model.module."] {
        let all = ours().into_iter();
        let theirs = all.map(|(n, s)| (format!("{prefix}{n}"), s)).collect();
        let found = sources(&theirs, "");
        for (i, (name, _)) in ours().iter().enumerate().take(7) {
            assert_eq!(found[i], tensor(&format!("{prefix}{name}")));
        }
    }
}

#[test]
fn numbers_give_the_order_and_a_missing_bias_is_zero() {
    let mut theirs = sequential();
    theirs.remove("m.encoder.2.bias");
    theirs.insert("m.encoder.3.num_batches_tracked".into(), vec![]);
    theirs.insert("optimizer.step".into(), vec![1]);
    let pairing = pair(&ours(), &theirs, &Names::default()).unwrap();
    assert_eq!(pairing.sources[2], tensor("m.encoder.2.weight"));
    assert_eq!(pairing.sources[3], Source::Zeros);
    // As text, 10 would stand before 2.
    assert_eq!(pairing.sources[4], tensor("m.encoder.10.block.1.weight"));
    assert_eq!(pairing.sources[7], tensor("m.quantize.embedding.weight"));
    assert_eq!(pairing.sources[8], Source::Ones);
    assert_eq!(pairing.unused, ["optimizer.step"]);
}

#[test]
fn words_have_no_order_so_that_shapes_decide_or_nothing_does() {
    let theirs = renamed("encoder.10.block", "encoder.tail");
    let faults = fault(&theirs, "");
    assert_eq!(faults.ambiguous.len(), 2, "{faults}");
    assert!(
        faults.ambiguous[0].contains("m.encoder.2 or m.encoder.tail.1"),
        "{faults}"
    );
    // With one of the two named, what is left is clear.
    let found = sources(&theirs, "\"encoder.2.0\" = 'm.encoder.tail.1'");
    assert_eq!(found[4], tensor("m.encoder.tail.1.weight"));
    assert_eq!(found[2], tensor("m.encoder.2.weight"));
}

#[test]
fn a_map_names_parameters_modules_and_sides() {
    let theirs = renamed("m.encoder", "enc");
    assert_eq!(fault(&theirs, "").missing.len(), 3);
    assert_eq!(
        sources(&theirs, "encoder = 'enc'")[2],
        tensor("enc.2.weight")
    );
    let theirs = renamed("m.decoder.3.weight", "last");
    let map = "decoder.0.weight = 'last'\ndecoder.0.bias = 'm.decoder.3.bias'";
    assert_eq!(sources(&theirs, map)[5], tensor("last"));
    let faults = fault(&theirs, "decoder.0.weight = 'lost'\ndecoder.9 = 'last'");
    assert!(faults.missing[0].contains("no lost"), "{faults}");
    assert!(faults.missing[1].contains("decoder.9"), "{faults}");
    for text in ["a = 1", "a = ['b']", "nonsense"] {
        assert!(Names::parse(text, "map").is_err(), "{text}");
    }
}

#[test]
fn every_fault_is_listed() {
    let mut theirs = sequential();
    theirs.insert("m.encoder.0.weight".into(), vec![8, 3, 3, 3]);
    theirs.remove("m.decoder.3.weight");
    theirs.remove("m.quantize.embedding.weight");
    let faults = fault(&theirs, "");
    assert_eq!(faults.other_shape.len(), 2, "{faults}");
    assert!(faults.other_shape[0].contains("[8, 3, 4, 4]"), "{faults}");
    assert_eq!(faults.missing, ["quantizer.codebook [16, 4]"]);
    let mut theirs = sequential();
    theirs.insert("m.encoder.1.weight".into(), vec![9, 9]);
    let faults = fault(&theirs, "");
    assert_eq!(faults.left_over, ["m.encoder.1 (weight [9, 9])"]);
    assert!(faults.to_string().contains("--map"));
}

#[test]
fn codebooks_have_many_names() {
    let with = |entries: &[(&str, &[usize])]| {
        let mut theirs = sequential();
        theirs.remove("m.quantize.embedding.weight");
        theirs.extend(entries.iter().map(|(n, s)| (n.to_string(), s.to_vec())));
        theirs
    };
    for name in [
        "_vq_vae._embedding.weight",
        "vq.codebook",
        "vq._codebook.embed",
        "table",
    ] {
        let theirs = with(&[(name, &[1, 16, 4]), ("vq.usage", &[16])]);
        assert_eq!(sources(&theirs, "")[7], tensor(name));
        let theirs = with(&[(name, &[4, 16])]);
        assert_eq!(sources(&theirs, "")[7], Source::Transposed(name.into()));
    }
    let moving: [(&str, &[usize]); 2] =
        [("vq._embedding.weight", &[16, 4]), ("vq._ema_w", &[16, 4])];
    assert_eq!(
        sources(&with(&moving), "")[7],
        tensor("vq._embedding.weight")
    );
    let two: [(&str, &[usize]); 2] = [("a.embed", &[16, 4]), ("b.embed", &[16, 4])];
    assert!(fault(&with(&two), "").ambiguous[0].contains("a.embed or b.embed"));
    assert_eq!(
        sources(&with(&two), "quantizer.codebook = 'b.embed'")[7],
        tensor("b.embed")
    );
}
