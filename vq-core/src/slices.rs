//! Parts of slices that are known to be there: a proved model and its plan see to that.
//!
//! Were one not there, debug builds would stop; others go on with an empty one. So the program of a device holds no
//! path to a panic, and nothing is read or written where it should not be.

/// Parts of a slice.
pub(crate) trait Parts<T> {
    /// `len` elements from `at` on.
    fn part(&self, at: usize, len: usize) -> &[T];
    /// The same, to be changed.
    fn part_mut(&mut self, at: usize, len: usize) -> &mut [T];
    /// The elements from `at` on.
    fn behind(&self, at: usize) -> &[T];
    /// The same, to be changed.
    fn behind_mut(&mut self, at: usize) -> &mut [T];
    /// The elements before `at`, and the others.
    fn parted(&self, at: usize) -> (&[T], &[T]);
    /// The same, to be changed.
    fn parted_mut(&mut self, at: usize) -> (&mut [T], &mut [T]);
}

impl<T> Parts<T> for [T] {
    #[inline(always)]
    fn part(&self, at: usize, len: usize) -> &[T] {
        let part = self.get(at..).and_then(|rest| rest.get(..len));
        debug_assert!(part.is_some(), "{at}, {len} of {}", self.len());
        part.unwrap_or_default()
    }

    #[inline(always)]
    fn part_mut(&mut self, at: usize, len: usize) -> &mut [T] {
        debug_assert!(at <= self.len() && len <= self.len() - at);
        let part = self.get_mut(at..).and_then(|rest| rest.get_mut(..len));
        part.unwrap_or_default()
    }

    #[inline(always)]
    fn behind(&self, at: usize) -> &[T] {
        debug_assert!(at <= self.len());
        self.get(at..).unwrap_or_default()
    }

    #[inline(always)]
    fn behind_mut(&mut self, at: usize) -> &mut [T] {
        debug_assert!(at <= self.len());
        self.get_mut(at..).unwrap_or_default()
    }

    #[inline(always)]
    fn parted(&self, at: usize) -> (&[T], &[T]) {
        debug_assert!(at <= self.len());
        self.split_at_checked(at).unwrap_or_default()
    }

    #[inline(always)]
    fn parted_mut(&mut self, at: usize) -> (&mut [T], &mut [T]) {
        debug_assert!(at <= self.len());
        self.split_at_mut_checked(at).unwrap_or_default()
    }
}
