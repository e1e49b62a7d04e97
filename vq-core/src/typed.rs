//! From the element type that a model names to the type that computes: once for the whole crate.

/// Does something with the element type of this name; something else where the crate is built without it, and unless that
/// is said, returns [`PlanError::Dtype`](crate::error::PlanError::Dtype).
macro_rules! with_element {
    ($dtype:expr, $element:ident => $body:expr) => {
        $crate::typed::with_element!(
            $dtype,
            $element => $body,
            else Err($crate::error::PlanError::Dtype($dtype).into())
        )
    };
    ($dtype:expr, $element:ident => $body:expr, else $missing:expr) => {
        match $dtype {
            $crate::dtype::Dtype::I8 => {
                type $element = i8;
                $body
            }
            #[cfg(feature = "f16")]
            $crate::dtype::Dtype::F16 => {
                type $element = half::f16;
                $body
            }
            #[cfg(feature = "f32")]
            $crate::dtype::Dtype::F32 => {
                type $element = f32;
                $body
            }
            #[cfg(not(all(feature = "f16", feature = "f32")))]
            _ => $missing,
        }
    };
}
pub(crate) use with_element;
