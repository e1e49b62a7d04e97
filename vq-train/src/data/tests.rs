//! Batches follow from seed and step alone; the small formats are read as published.

use super::*;
use std::io::Write;

fn photo(width: usize, height: usize, shade: u8) -> Picture {
    let pixels = (0..width * height * 3)
        .map(|i| shade.wrapping_add((i % 91) as u8))
        .collect();
    Picture::new(Size { width, height }, 3, pixels)
}

fn config(kind: &str, size: usize, channels: usize) -> Config {
    let text = format!(
        r#"
        name = "t"
        data = {{ kind = "{kind}", size = [{size}, {size}] }}
        model = {{ channels = {channels}, encoder = [{{ conv = {{ out = 4 }} }}],
                  decoder = [{{ conv = {{ out = {channels} }} }}] }}
        quantizer = {{ codes = 8, dim = 4 }}
        train = {{ steps = 1, batch = 1 }}"#
    );
    Config::parse(&text, "test").unwrap()
}

#[test]
fn a_batch_follows_from_seed_and_step_and_not_from_history() {
    let pictures: Vec<Picture> = (0..5).map(|i| photo(40 + i, 30, 20 * i as u8)).collect();
    let config = config("photos", 16, 3);
    let fresh = || Dataset::from_pictures(&config, pictures.clone(), Vec::new());
    let walked = fresh();
    let batches: Vec<_> = (0..6).map(|step| walked.batch(step, 3)).collect();
    assert_eq!(fresh().batch(4, 3), batches[4]);
    assert_ne!(batches[0], batches[1]);
}

#[test]
fn jitter_changes_the_colours_of_a_crop_and_nothing_else() {
    let plain = photo(30, 20, 100);
    let draws = || generator(1, Purpose::Crop, 7);
    let jittered = photos::jittered(plain.clone(), 0.2, &mut draws());
    assert_eq!(jittered.size(), plain.size());
    assert_ne!(jittered, plain);
    assert_eq!(photos::jittered(plain.clone(), 0.2, &mut draws()), jittered);
    assert_eq!(photos::jittered(plain.clone(), 0.0, &mut draws()), plain);
    // Equal grey values stay equal to each other; only their level and balance move.
    let grey = Picture::filled(plain.size(), &[90; 3]);
    let moved = photos::jittered(grey, 0.2, &mut draws());
    assert!(moved.pixels.chunks(3).all(|p| p == &moved.pixels[..3]));
    let shift = moved.pixels.iter().map(|&p| p.abs_diff(90)).max().unwrap();
    assert!((1..=60).contains(&shift), "{shift}");
}

#[test]
fn folders_are_mixed_by_weight_and_each_holds_out_its_share() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config("photos", 16, 3);
    config.data.holdout = 0.5;
    for (name, shade, photos) in [("dark", 0, 2), ("light", 128, 6)] {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        for i in 0..photos {
            let size = Size {
                width: 20,
                height: 20,
            };
            let photo = Picture::filled(size, &[shade; 3]);
            photo.save_png(&folder.join(format!("{i}.png"))).unwrap();
        }
        let weight = if name == "dark" { 3.0 } else { 1.0 };
        config.data.mix.push(Source {
            path: folder,
            weight,
        });
    }
    let dataset = Dataset::load(&config, &[], None).unwrap();
    assert_eq!((dataset.len(), dataset.validation.len()), (4, 4));
    for step in 0..5 {
        let batch = dataset.batch(step, 8);
        let dark = batch.outer_iter().filter(|x| x[[0, 0, 0]] < -0.5).count();
        assert_eq!(dark, 6, "step {step}");
    }
    let again = Dataset::load(&config, &[], None).unwrap();
    assert_eq!(again.batch(3, 8), dataset.batch(3, 8));
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    config.data.mix[1].path = dir.path().join("empty");
    let error = Dataset::load(&config, &[], None).unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
}

#[test]
fn pixels_survive_the_networks_units() {
    let p = Picture::new(
        Size {
            width: 256,
            height: 1,
        },
        1,
        (0..=255).collect(),
    );
    assert_eq!(to_pictures(&to_batch(std::slice::from_ref(&p)))[0], p);
}

#[test]
fn corrupt_and_tiny_photos_are_reported_and_skipped() {
    let dir = tempfile::tempdir().unwrap();
    photo(40, 40, 3)
        .save_png(&dir.path().join("good.png"))
        .unwrap();
    photo(5, 40, 3)
        .save_png(&dir.path().join("tiny.png"))
        .unwrap();
    std::fs::write(dir.path().join("bad.jpg"), b"not a jpeg").unwrap();
    let dataset = Dataset::load(&config("photos", 16, 3), &[dir.path().into()], None).unwrap();
    assert_eq!(dataset.len(), 1);
    assert_eq!(dataset.skipped.len(), 2, "{:?}", dataset.skipped);
    assert!(dataset.skipped.iter().any(|s| s.contains("bad.jpg")));
    assert!(dataset.skipped.iter().any(|s| s.contains("tiny.png")));
}

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(data);
    bytes
}

#[test]
fn mnist_is_read_plain_and_gzipped_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let train: Vec<u8> = (0..2 * 28 * 28).map(|i| (i % 251) as u8).collect();
    std::fs::write(
        dir.path().join("train-images-idx3-ubyte"),
        idx(&[2, 28, 28], &train),
    )
    .unwrap();
    let file = std::fs::File::create(dir.path().join("t10k-images-idx3-ubyte.gz")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    gz.write_all(&idx(&[1, 28, 28], &train[..784])).unwrap();
    gz.finish().unwrap();
    let dataset = Dataset::load(&config("mnist", 28, 1), &[dir.path().into()], None).unwrap();
    assert_eq!((dataset.len(), dataset.validation.len()), (2, 1));
    assert_eq!(dataset.validation[0].pixels, &train[..784]);
    let cut = idx(&[2, 28, 28], &train[..1000]);
    std::fs::write(dir.path().join("train-images-idx3-ubyte"), cut).unwrap();
    let error = Dataset::load(&config("mnist", 28, 1), &[dir.path().into()], None).unwrap_err();
    assert!(
        error.to_string().contains("train-images-idx3-ubyte"),
        "{error}"
    );
}

#[test]
fn cifar10_planes_become_pixels() {
    let dir = tempfile::tempdir().unwrap();
    let mut record = vec![7u8];
    record.extend([10; 1024].iter().chain(&[20; 1024]).chain(&[30; 1024]));
    std::fs::write(dir.path().join("data_batch_1.bin"), &record).unwrap();
    std::fs::write(dir.path().join("test_batch.bin"), &record).unwrap();
    let dataset = Dataset::load(&config("cifar10", 32, 3), &[dir.path().into()], None).unwrap();
    assert_eq!(dataset.validation[0].pixels[..6], [10, 20, 30, 10, 20, 30]);
    std::fs::write(dir.path().join("test_batch.bin"), &record[..3000]).unwrap();
    assert!(Dataset::load(&config("cifar10", 32, 3), &[dir.path().into()], None).is_err());
}
