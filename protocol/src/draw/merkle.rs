//! The Merkle tree of RFC 6962 (section 2.1): leaves and nodes are hashed with different first bytes, so that no node can pass
//! for a leaf. An incomplete tree is split at the largest power of two below its size.

use super::Hash;
use sha2::{Digest, Sha256};

const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];
/// A tree of 2^64 leaves has no longer path than this.
pub(crate) const MAX_PATH: usize = 64;

pub fn leaf(data: &[u8]) -> Hash {
    Hash(
        Sha256::new()
            .chain_update(LEAF)
            .chain_update(data)
            .finalize()
            .into(),
    )
}

pub fn node(left: &Hash, right: &Hash) -> Hash {
    Hash(
        Sha256::new()
            .chain_update(NODE)
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

/// A tree that grows leaf by leaf. It keeps only its full subtrees, so memory depends on its height.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    count: u64,
    /// Roots of the full subtrees, the largest first: one per 1 in the binary count.
    full: Vec<Hash>,
}

impl Tree {
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        for _ in 0..self.count.trailing_ones() {
            if let Some(left) = self.full.pop() {
                root = node(&left, &root);
            }
        }
        self.full.push(root);
        self.count += 1;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Without leaves it is the hash of nothing, as in the RFC.
    pub fn root(&self) -> Hash {
        let mut smallest_first = self.full.iter().rev();
        let Some(last) = smallest_first.next() else {
            return Hash(Sha256::digest([]).into());
        };
        smallest_first.fold(*last, |right, left| node(left, &right))
    }
}

/// The hashes next to the way from a leaf to the root, lowest first. None: there is no such leaf.
pub fn path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    let (mut level, mut at) = (leaves.to_vec(), index);
    while level.len() > 1 {
        if let Some(sibling) = level.get(at ^ 1) {
            path.push(*sibling);
        }
        // A last node without a partner moves up unchanged: this gives the same tree as the RFC's splitting.
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node(left, right),
                [alone] => *alone,
                _ => unreachable!("chunks of two"),
            })
            .collect();
        at /= 2;
    }
    Some(path)
}

/// The root to which a path leads. None: the path's length is wrong for this leaf (RFC 9162, section 2.1.3.2).
pub(crate) fn climb(leaf: Hash, index: u64, count: u64, path: &[Hash]) -> Option<Hash> {
    if index >= count || path.len() > MAX_PATH {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, count - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if at % 2 == 1 || at == last {
            hash = node(sibling, &hash);
            while at % 2 == 0 && at != 0 {
                at /= 2;
                last /= 2;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at /= 2;
        last /= 2;
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|i| leaf(i.to_string().as_bytes())).collect()
    }

    fn grown(leaves: &[Hash]) -> Tree {
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        tree
    }

    /// The RFC's own definition, word by word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash(Sha256::digest([]).into()),
            [one] => *one,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node(&by_definition(&leaves[..split]), &by_definition(&leaves[split..]))
            }
        }
    }

    #[test]
    fn a_grown_tree_is_the_one_of_the_definition() {
        for count in 0..70 {
            let leaves = leaves(count);
            assert_eq!(grown(&leaves).root(), by_definition(&leaves), "{count}");
        }
    }

    /// Published by the Certificate Transparency project with the RFC's reference implementation.
    #[test]
    fn it_agrees_with_the_known_trees_of_certificate_transparency() {
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let leaves: Vec<Hash> = inputs.iter().map(|input| leaf(input)).collect();
        assert_eq!(
            grown(&leaves).root().to_string(),
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        );
    }

    #[test]
    fn every_path_leads_to_the_root_and_no_other_does() {
        for count in 1..40_usize {
            let leaves = leaves(count);
            let root = grown(&leaves).root();
            for index in 0..count {
                let path = path(&leaves, index).expect("a leaf");
                let climbed = |leaf, index, count, path: &[Hash]| climb(leaf, index, count, path);
                let (at, of) = (index as u64, count as u64);
                assert_eq!(
                    climbed(leaves[index], at, of, &path),
                    Some(root),
                    "{index} of {count}"
                );
                assert_ne!(climbed(leaf(b"other"), at, of, &path), Some(root));
                for other in (0..count).filter(|other| *other != index) {
                    assert_ne!(climbed(leaves[index], other as u64, of, &path), Some(root));
                }
                for cut in 0..path.len() {
                    assert_ne!(climbed(leaves[index], at, of, &path[..cut]), Some(root));
                }
            }
            assert_eq!(path(&leaves, count), None);
        }
    }

    #[test]
    fn the_roots_of_aligned_chunks_make_the_same_tree() {
        for count in [1_usize, 7, 8, 9, 16, 17, 63, 64, 65] {
            let leaves = leaves(count);
            let chunks: Vec<Hash> = leaves.chunks(8).map(|chunk| grown(chunk).root()).collect();
            assert_eq!(grown(&chunks).root(), grown(&leaves).root(), "{count}");
            for index in 0..count {
                let chunk = index / 8;
                let end = leaves.len().min(chunk * 8 + 8);
                let mut joined = path(&leaves[chunk * 8..end], index % 8).expect("in the chunk");
                joined.extend(path(&chunks, chunk).expect("a chunk"));
                assert_eq!(Some(joined), path(&leaves, index), "{index} of {count}");
            }
        }
    }
}
