//! Key pairs for tests. They were made for this file, and guard nothing.

/// RSA, 2048 bits.
pub const RSA_PRIVATE: &str = r#"-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQDbstks3jcqFjpf
5o64ZBJQ/6VazyVviA3as4WjqIIPhF+r1PY2fRqKgOzdYAsb4BUDNkIydVIqIxhG
RDmHLwQtNxEVaoq/Q3FkXyzoFLTGXc6SWgyALP11TaHKk+N8gAgWiJO8HbcrAVfT
U2orrJ5RcoRW8hMFh/gQmoeNDSpVEqeiYx8XULIf1IKANev7vSm2vkrDOzWvXU4Q
qyLR+yIn+T32bss2f/FO2xuTpZ01v9iA4fZDE+mAllTwakdSDZoeVucSePlo+7/m
Ew8woRTQAcHBpvuUVpRs6j5Lt7kp+p97yBs4RCcI/pj2xDC0ESEy39/vWMQVPzxv
0CFC0U7dAgMBAAECggEAGT6z4IlS+BhrHMShdw6zYXCpejB+B2gwL1vxlJyy/+rL
aN36bMhzWaGhliPdzZYyKUGoLvl24jX7fsIthMXM9Q/JfBcsr6L6+fhLG1/wZdrh
ocTh1YNV8eS5x/gLwS1Ka0xxAsISCh8IDdXH8rzNybjJpt6qJjiO3gQ5Dzw0C7z3
zxUmSGJ+S7ydNvwzkMvNGxcXhOlFg3kRolFtmZ0qUgDdP0lvRhqXTHFfOGxHMQeX
jJKY2Jovse5O7LqE0ooLOXAfN5S/mO3VbNxVJCuKHvYI+kWGqG7h6nWRPmvMza8S
WR03vAfRl6NndNmMycrefM4BLw0ylODERr4kNI91AQKBgQD3I4p/7q8M/9Dh8dJC
Q8Gd6x/KeWskUVG8f4HvQ3w68v4jDdhea8TVz8LxX6tA6ZR5EI+qZUjPOMEQcwfP
hE+v4BcZFCyHCBkITYmC9HgXkt160e7GcMj90Y3KhT2pq0Kv7zxbSBBvduGsAgJ5
hO3KFjqCQTPf94naJQJDYunHcwKBgQDjk2/T0ghl6RIwkeBnSFJHwPX7WQPtwuXd
gjCjOgFOwmE0SS0jBGmb+4lDnXfV3LWYxTBjx8Cq6UK+21dbE5UEO4GvopsR0qZm
MJdCPwmujxXdlsAnP3d66ZxqwYA0s8yaa76qxiemi/XLfzzyLOIm/KyvurWD9HBb
32P54n/cbwKBgAp33u38Vj3euCJZ8+YKqLDfvMD+06L+LtAlNoPEAAcfM9SYSYn2
VqgX3NIMk1x0iG14Xh2BnMvqQ4NG3BXWLOnuPAw75obxuN25KxH4+P1Go0sIiWyu
alUWA0OI0UvWjUSWhZ/4NXoDNxvqGeC72LauqlvKF0BtY9Fxr97a2bwxAoGAczMU
HZ6pf6UO/yUo+j9i302vdw+lbHsHTyzzH/1h4hOFjyknvx0htMMMxfx1R/4UswPG
rgvU3O99SQ3RV5o/Cchxqo3ef5QphXs9ZlxwsztdLzF7jaKUAdU1x9ix5HvLq7O0
7c+nDKi2wM9k85aC2Id5hu81qVlYczlO65SbcuMCgYBXKfxM+9Irb93hiIRavolv
Pzkpckm9BVstoANlXO1/50igvxbVLkylknIr8ItIgc5PCBlLDfuCx3WYQWXsv9r9
9oHUsx2N6lZZQ0MSFyAEIZumie7nn1UXj/4MU10QsgOw2R5k8oxZBRc9jAiHo6V4
V+mwXmHkhVhGiRgYoVi43w==
-----END PRIVATE KEY-----"#;

/// EC on P-256.
pub const P256_PRIVATE: &str = r#"-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0uLvVYFFgbVXzKDz
Hs/mdT3RGgJWp3+03qswq1JEvnmhRANCAATJqslt74D+RGz5IjLRr+T+WFdTDzvl
v4A6rtMI/XTn/OXD5AVnNXmkMCk/17Ooj7Zu5nDQznISuw3FFirxhOK1
-----END PRIVATE KEY-----"#;

/// EC on P-384.
pub const P384_PRIVATE: &str = r#"-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDBJqFF9p/XJ+WlXG7xR
s+fdJLP6jwGZtk+o/ZElUhhTXl3JG421HHfjqkJbdeNbwwWhZANiAAQg/bd6vvcK
wOteB2nBaSbZOpqoVb4G+wWPGDkc3q9qLafHERGNR6AHGSuYdb03J6rl1HGdxfsI
t+/3gcPMznbNu2QyJNy9TR0ChXUk9PwVDGOJSbXikd6+obAImHxCHtI=
-----END PRIVATE KEY-----"#;

/// Ed25519.
pub const ED25519_PRIVATE: &str = r#"-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIGDvWhEQ14hnUdE1Se4/J0mnh3+AF1x/nfSJPeZoUg4j
-----END PRIVATE KEY-----"#;

/// Of [`RSA_PRIVATE`].
pub const RSA_PUBLIC: &str = r#"-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA27LZLN43KhY6X+aOuGQS
UP+lWs8lb4gN2rOFo6iCD4Rfq9T2Nn0aioDs3WALG+AVAzZCMnVSKiMYRkQ5hy8E
LTcRFWqKv0NxZF8s6BS0xl3OkloMgCz9dU2hypPjfIAIFoiTvB23KwFX01NqK6ye
UXKEVvITBYf4EJqHjQ0qVRKnomMfF1CyH9SCgDXr+70ptr5Kwzs1r11OEKsi0fsi
J/k99m7LNn/xTtsbk6WdNb/YgOH2QxPpgJZU8GpHUg2aHlbnEnj5aPu/5hMPMKEU
0AHBwab7lFaUbOo+S7e5Kfqfe8gbOEQnCP6Y9sQwtBEhMt/f71jEFT88b9AhQtFO
3QIDAQAB
-----END PUBLIC KEY-----"#;

/// The same, in the older form.
pub const RSA_PUBLIC_PKCS1: &str = r#"-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEA27LZLN43KhY6X+aOuGQSUP+lWs8lb4gN2rOFo6iCD4Rfq9T2Nn0a
ioDs3WALG+AVAzZCMnVSKiMYRkQ5hy8ELTcRFWqKv0NxZF8s6BS0xl3OkloMgCz9
dU2hypPjfIAIFoiTvB23KwFX01NqK6yeUXKEVvITBYf4EJqHjQ0qVRKnomMfF1Cy
H9SCgDXr+70ptr5Kwzs1r11OEKsi0fsiJ/k99m7LNn/xTtsbk6WdNb/YgOH2QxPp
gJZU8GpHUg2aHlbnEnj5aPu/5hMPMKEU0AHBwab7lFaUbOo+S7e5Kfqfe8gbOEQn
CP6Y9sQwtBEhMt/f71jEFT88b9AhQtFO3QIDAQAB
-----END RSA PUBLIC KEY-----"#;

/// The same, in a certificate signed by itself.
pub const RSA_CERTIFICATE: &str = r#"-----BEGIN CERTIFICATE-----
MIIDETCCAfmgAwIBAgIUO8YxvCb3kv7YYNgVF3eOkB5KmiAwDQYJKoZIhvcNAQEL
BQAwFzEVMBMGA1UEAwwMa2V5cy5leGFtcGxlMCAXDTI2MTEzMDEwMzMzNloYDzIx
MjYxMTA2MTAzMzM2WjAXMRUwEwYDVQQDDAxrZXlzLmV4YW1wbGUwggEiMA0GCSqG
SIb3DQEBAQUAA4IBDwAwggEKAoIBAQDbstks3jcqFjpf5o64ZBJQ/6VazyVviA3a
s4WjqIIPhF+r1PY2fRqKgOzdYAsb4BUDNkIydVIqIxhGRDmHLwQtNxEVaoq/Q3Fk
XyzoFLTGXc6SWgyALP11TaHKk+N8gAgWiJO8HbcrAVfTU2orrJ5RcoRW8hMFh/gQ
moeNDSpVEqeiYx8XULIf1IKANev7vSm2vkrDOzWvXU4QqyLR+yIn+T32bss2f/FO
2xuTpZ01v9iA4fZDE+mAllTwakdSDZoeVucSePlo+7/mEw8woRTQAcHBpvuUVpRs
6j5Lt7kp+p97yBs4RCcI/pj2xDC0ESEy39/vWMQVPzxv0CFC0U7dAgMBAAGjUzBR
MB0GA1UdDgQWBBQJDYRHij8hQlZCjr1DKLhJxvteyzAfBgNVHSMEGDAWgBQJDYRH
ij8hQlZCjr1DKLhJxvteyzAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQEBCwUA
A4IBAQBnYY5yPzSOrFc2I8mRDExNgK8LcuJcPyjlzI/s2DXfuLkoE7jb3QyIswuu
C8BlGvp8U9KiYVX46anU6LZ9LmQcEuIzIhs8qc7/kgwqNDzd8mQRFJ5nNKRpAUKb
mHs09k8cCWXpb58kFzqne2Fzm/8eDMTjdiBr2IT3vY0AKiVATnRlbjST1FCy8SlH
oibORC99jRQgMw/41ZteLq4ABhsQku15iKN6NXJrrAszveSzRQ3FRRpi4/jQk1CU
Y8r57BUz74T2IUI0RHsuJEgqbu7KNiKhZFQt3HDrl8UUFIeTJR6kuFiuaaXCP7kY
0qqHv3m7VRJ4nvkHWwulLTNpqBAN
-----END CERTIFICATE-----"#;

/// The same, marked for PSS signatures only.
pub const RSA_PSS_PUBLIC: &str = r#"-----BEGIN PUBLIC KEY-----
MIIBIDALBgkqhkiG9w0BAQoDggEPADCCAQoCggEBANuy2SzeNyoWOl/mjrhkElD/
pVrPJW+IDdqzhaOogg+EX6vU9jZ9GoqA7N1gCxvgFQM2QjJ1UiojGEZEOYcvBC03
ERVqir9DcWRfLOgUtMZdzpJaDIAs/XVNocqT43yACBaIk7wdtysBV9NTaiusnlFy
hFbyEwWH+BCah40NKlUSp6JjHxdQsh/UgoA16/u9Kba+SsM7Na9dThCrItH7Iif5
PfZuyzZ/8U7bG5OlnTW/2IDh9kMT6YCWVPBqR1INmh5W5xJ4+Wj7v+YTDzChFNAB
wcGm+5RWlGzqPku3uSn6n3vIGzhEJwj+mPbEMLQRITLf3+9YxBU/PG/QIULRTt0C
AwEAAQ==
-----END PUBLIC KEY-----"#;

/// Of [`P256_PRIVATE`].
pub const P256_PUBLIC: &str = r#"-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEyarJbe+A/kRs+SIy0a/k/lhXUw87
5b+AOq7TCP105/zlw+QFZzV5pDApP9ezqI+2buZw0M5yErsNxRYq8YTitQ==
-----END PUBLIC KEY-----"#;

/// The same, in a certificate signed by itself.
pub const P256_CERTIFICATE: &str = r#"-----BEGIN CERTIFICATE-----
MIIBhDCCASugAwIBAgIUNA4KRw4lvo7EIxG5LpzPPx1dmRowCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMa2V5cy5leGFtcGxlMCAXDTI2MTEzMDEwMzMzNloYDzIxMjYx
MTA2MTAzMzM2WjAXMRUwEwYDVQQDDAxrZXlzLmV4YW1wbGUwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAATJqslt74D+RGz5IjLRr+T+WFdTDzvlv4A6rtMI/XTn/OXD
5AVnNXmkMCk/17Ooj7Zu5nDQznISuw3FFirxhOK1o1MwUTAdBgNVHQ4EFgQU3vs/
KJcVPLMOzYxkfmqEzbYrTXwwHwYDVR0jBBgwFoAU3vs/KJcVPLMOzYxkfmqEzbYr
TXwwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiB1dUZZ8xxe4Q2W
KjxqlQE7lbOrcniVuCaKg3c6cwl/uAIgFYI26VkzPXr1cjdYZJH4A4IHOzbNdgLK
rbzE2MDzTXk=
-----END CERTIFICATE-----"#;

/// Of [`P384_PRIVATE`].
pub const P384_PUBLIC: &str = r#"-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEIP23er73CsDrXgdpwWkm2TqaqFW+BvsF
jxg5HN6vai2nxxERjUegBxkrmHW9Nyeq5dRxncX7CLfv94HDzM52zbtkMiTcvU0d
AoV1JPT8FQxjiUm14pHevqGwCJh8Qh7S
-----END PUBLIC KEY-----"#;

/// Of [`ED25519_PRIVATE`].
pub const ED25519_PUBLIC: &str = r#"-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAlPT62Pni21ulir5m6DA0blDkqXV5r5Kqk6kbzMv/k/g=
-----END PUBLIC KEY-----"#;

/// RSA, too small.
pub const RSA_1024_PUBLIC: &str = r#"-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDB2ZWN5ZJ9LBVVgLi8RgOQTrIw
Bqu4kR9jtdQl6kTJy+wVWU3fs9GD63rLxfOQciJzZxG/Nx3WMU13yt05Vxpsiz1U
9wGqM9B0l0XDpflgvQxzXKdDPd5PuMDAT6eqDvlZHKFztRNa6XKPcoy/QhMYRsrz
xr3XJASfiLW8lwAttQIDAQAB
-----END PUBLIC KEY-----"#;

/// EC on a curve that the library does not know.
pub const P521_PUBLIC: &str = r#"-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBqrn44TVV92Ap79pnsAf2KKoFjcd5
vdZbpI1OUPH6Raz7NVnuo/G5bQfGdgXYisl94J27K04iL3RwfQtgLq1bBpQAxlg5
GreHKsV/crzAp4XTX5SvYD6aOKiqTepnQnvNoWFppzfRm+oUt3ArxyqS6PImO680
CT2SdFCrlfY8WMNq/CA=
-----END PUBLIC KEY-----"#;

/// A key that agrees on secrets and signs nothing.
pub const X25519_PUBLIC: &str = r#"-----BEGIN PUBLIC KEY-----
MCowBQYDK2VuAyEAoZDHmp9TVACY5sbG5zR3tnTG2eHiO/17/TBD4MHSeGE=
-----END PUBLIC KEY-----"#;

/// Public key of [`RSA_PRIVATE`], without `alg`.
pub const RSA_JWK: &str = r#"{"kty":"RSA","n":"27LZLN43KhY6X-aOuGQSUP-lWs8lb4gN2rOFo6iCD4Rfq9T2Nn0aioDs3WALG-AVAzZCMnVSKiMYRkQ5hy8ELTcRFWqKv0NxZF8s6BS0xl3OkloMgCz9dU2hypPjfIAIFoiTvB23KwFX01NqK6yeUXKEVvITBYf4EJqHjQ0qVRKnomMfF1CyH9SCgDXr-70ptr5Kwzs1r11OEKsi0fsiJ_k99m7LNn_xTtsbk6WdNb_YgOH2QxPpgJZU8GpHUg2aHlbnEnj5aPu_5hMPMKEU0AHBwab7lFaUbOo-S7e5Kfqfe8gbOEQnCP6Y9sQwtBEhMt_f71jEFT88b9AhQtFO3Q","e":"AQAB","kid":"rsa-1","use":"sig"}"#;

/// Public key of [`P256_PRIVATE`].
pub const P256_JWK: &str = r#"{"kty":"EC","crv":"P-256","x":"yarJbe-A_kRs-SIy0a_k_lhXUw875b-AOq7TCP105_w","y":"5cPkBWc1eaQwKT_Xs6iPtm7mcNDOchK7DcUWKvGE4rU","kid":"p256-1","use":"sig","alg":"ES256"}"#;

/// Public key of [`P384_PRIVATE`], without `alg`.
pub const P384_JWK: &str = r#"{"kty":"EC","crv":"P-384","x":"IP23er73CsDrXgdpwWkm2TqaqFW-BvsFjxg5HN6vai2nxxERjUegBxkrmHW9Nyeq","y":"5dRxncX7CLfv94HDzM52zbtkMiTcvU0dAoV1JPT8FQxjiUm14pHevqGwCJh8Qh7S","kid":"p384-1"}"#;

/// Public key of [`ED25519_PRIVATE`].
pub const ED25519_JWK: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"lPT62Pni21ulir5m6DA0blDkqXV5r5Kqk6kbzMv_k_g","kid":"ed-1","alg":"EdDSA","key_ops":["verify"]}"#;

/// A key that agrees on secrets and signs nothing.
pub const X25519_JWK: &str =
    r#"{"kty":"OKP","crv":"X25519","x":"oZDHmp9TVACY5sbG5zR3tnTG2eHiO_17_TBD4MHSeGE","kid":"x25519-1"}"#;

/// EC on a curve that the library does not know.
pub const SECP256K1_JWK: &str = r#"{"kty":"EC","crv":"secp256k1","x":"HNg8Lm-I-EMiUOtejGSKgwlhBp0E4DuAaU536J9akKw","y":"OJnm_DtGMrwjdfr0fl6ivPw-2mq-8VpEk66bg0nPTug","kid":"k1"}"#;

/// EC on a curve that the library does not know.
pub const P521_JWK: &str = r#"{"kty":"EC","crv":"P-521","x":"Aaq5-OE1VfdgKe_aZ7AH9iiqBY3Heb3WW6SNTlDx-kWs-zVZ7qPxuW0HxnYF2IrJfeCduytOIi90cH0LYC6tWwaU","y":"AMZYORq3hyrFf3K8wKeF01-Ur2A-mjioqk3qZ0J7zaFhaac30ZvqFLdwK8cqkujyJjuvNAk9knRQq5X2PFjDavwg","kid":"p521-1","alg":"ES512"}"#;

/// RSA, too small.
pub const RSA_1024_JWK: &str = r#"{"kty":"RSA","n":"wdmVjeWSfSwVVYC4vEYDkE6yMAaruJEfY7XUJepEycvsFVlN37PRg-t6y8XzkHIic2cRvzcd1jFNd8rdOVcabIs9VPcBqjPQdJdFw6X5YL0Mc1ynQz3eT7jAwE-nqg75WRyhc7UTWulyj3KMv0ITGEbK88a91yQEn4i1vJcALbU","e":"AQAB","kid":"small"}"#;

/// EC on P-256: the first byte of `x` is zero and left out, as some providers do it.
pub const P256_SHORT_JWK: &str = r#"{"kty":"EC","crv":"P-256","x":"wCPUFJV-0MdtLbt5JA4ZYNObuiZAemFck0zVP5afLA","y":"1P9S042kyh8m0P2sudc6dl5LeeRxhZtaAvCcRPEM6DQ","kid":"short-x"}"#;
