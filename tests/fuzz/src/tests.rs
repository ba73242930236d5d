use std::path::PathBuf;

use super::*;

/// Mutations of each seed, so that all of them take some seconds in a debug build.
const MUTATIONS: usize = 500;

fn seeds(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target.name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

/// `SplitMix64`.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((z ^ (z >> 31)) >> 1).unwrap()
}

fn mutate(bytes: &mut Vec<u8>, state: &mut u64) {
    const WORDS: [&[u8]; 12] = [
        b"{{", b"}}", b"\n", b"\"", b"---\n", b": ", b"&a ", b"*a", b"-> ", b"sk1.", b"\0", b"\xff",
    ];
    for _ in 0..=next(state) % 3 {
        let at = next(state) % (bytes.len() + 1);
        match next(state) % 5 {
            0 if at < bytes.len() => bytes[at] ^= 1 << (next(state) % 8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => {
                let end = (at + next(state) % 20).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = next(state) % (bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            3 => bytes.truncate(at),
            _ => {
                let word = WORDS[next(state) % WORDS.len()];
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
}

#[test]
fn every_target_holds_for_its_seeds_and_their_mutations() {
    let mut state = 20_260_117;
    for target in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        let mut runs = 0;
        for (path, seed) in seeds {
            println!("{}", path.display());
            (target.check)(&seed);
            for _ in 0..MUTATIONS {
                let mut bytes = seed.clone();
                mutate(&mut bytes, &mut state);
                (target.check)(&bytes);
                runs += 1;
            }
        }
        println!("{}: {runs} mutations", target.name);
    }
}

#[test]
fn a_target_can_fail() {
    let quoting = std::panic::catch_unwind(|| says_nothing(&format!("bad value {CANARY}")));
    assert!(quoting.is_err());
    let escaping = std::panic::catch_unwind(|| says_nothing("\u{1b}[31m"));
    assert!(escaping.is_err());
}
