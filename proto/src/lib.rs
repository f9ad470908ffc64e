//! The messages between filter, broker and operators, generated from the protos beside this crate.

/// What the filter asks of the broker.
pub mod broker {
    #![expect(missing_docs, reason = "prost carries the comments of the proto over, but not to every item it makes")]
    #![cfg_attr(feature = "grpc", expect(clippy::allow_attributes, reason = "tonic writes them"))]
    include!(concat!(env!("OUT_DIR"), "/sallyport.broker.v1.rs"));
}

/// What operators do.
pub mod admin {
    #![expect(missing_docs, reason = "prost carries the comments of the proto over, but not to every item it makes")]
    #![cfg_attr(feature = "grpc", expect(clippy::allow_attributes, reason = "tonic writes them"))]
    include!(concat!(env!("OUT_DIR"), "/sallyport.admin.v1.rs"));
}

/// What `{:?}` shows of a message that holds a secret: that it is one.
macro_rules! hide {
    ($($message:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($message), " [secret]"))
            }
        }
    )+};
}

hide!(
    admin::CreateSignInLinkResponse,
    admin::FingerprintRequest,
    admin::IssueTokenResponse,
    admin::SetSecretRequest,
    broker::AcquireCredentialRequest,
    broker::Header,
    broker::SessionKeys,
);
