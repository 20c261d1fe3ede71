//! The one sort.

/// Sorts items by a key; those of equal keys keep their order. All that is sorted here is sorted
/// by the same code, because a sort for each type would be a large part of the program.
pub(crate) fn sorted<T>(items: Vec<T>, key: impl Fn(&T) -> (usize, usize)) -> Vec<T> {
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    let key = |(index, item): (usize, &Option<T>)| {
        let key = item.as_ref().map_or((0, 0), &key);
        (key, index)
    };
    let mut order: Vec<((usize, usize), usize)> = items.iter().enumerate().map(key).collect();
    order.sort_unstable();
    let take = |(_, index): ((usize, usize), usize)| items.get_mut(index)?.take();
    order.into_iter().filter_map(take).collect()
}
