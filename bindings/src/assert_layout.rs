//! How the tests of every layout compare it with its source.

/// Asserts a layout's size, alignment, and the offset of every field; the fields must be all that it has.
macro_rules! assert_layout {
    ($layout:ident, $bytes:expr, $align:expr, { $($field:ident: $offset:expr),* $(,)? }) => {
        assert_eq!(size_of::<$layout>(), $bytes, "size of {}", stringify!($layout));
        assert_eq!(align_of::<$layout>(), $align, "alignment of {}", stringify!($layout));
        $(assert_eq!(offset_of!($layout, $field), $offset, "{}.{}", stringify!($layout), stringify!($field));)*
        #[allow(clippy::no_effect_underscore_binding)]
        let _all = |layout: &$layout| { let $layout { $($field: _),* } = layout; };
    };
}
