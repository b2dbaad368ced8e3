/// Keys in PEM, made for these tests by openssl and used nowhere else.
extension TestSigner {
    /// A pair of RSA, 2048 bits.
    static let rsaPEM = """
        -----BEGIN PRIVATE KEY-----
        MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCzqrWcm3PvSexx
        NisvK7rOxP2tNiW9Nk7XBxw8g7YLxQ+1x8z7oLVrUvzgnIUFC+zp/UFn9ra+c/8T
        3jZLTb92y6I+kAmkGs8ehOWEraP8D22KMCP1XP1fQQXqtTS4sRq4zm//XXT5LZDA
        cFkuuw7TUwbQho3rsGQqj8giemmhh0Rf9g3ukFF9XGlDkgnTco8rA4ULNqHddwkv
        IyC6pMTT9C00wN/l+uisrtFzFEOOiJAXxppXs31lfraZwA3LE0tqtRxdIWS6I5IN
        Kb4EUiWXMX69RJliy2iLCNW/D6xhpBGzuVJ/mUU1EZUOJAKJgcpWx2j77jteVhOf
        oleiG1D3AgMBAAECggEAFq4ZCPDyvKU3TL9KykSZ61ogr8njD7SYVTqXjOgPhgLV
        Tdwv+x+5Zxftxijb/dwYhx0qMYaKYRZhf8+QSQdCgSuJip5CKU4dETwzgQEubzY/
        XK9hCqs3bNvXdF51jk8FEYk1yCWzC3V+DVzhVS3V3EVh2dbyeWsl6d2GpRuQ1Av5
        YGH+oSHUuGQeVBFG+9cYJrJc+PGGGghqctDEloi+qQsBiHHkJ/BDB1zZ6/XtmDjQ
        LRYMBU0E4aSqwTdZMcoXxo4CqpnL8yzgqT912+Kg5P+QdQ22kkGWtbO27rx9mIie
        qamUZvdPILKC1GgI51zNGvu7pT7VQlX0I67P9HydAQKBgQD+AAYyiL6tWYuE+d3Q
        FiKyYkzoBTEZnp4jIu2SZexFPqDTdgWRRhFa5fTKPlPJawDEf31Uy/15DKM8fZuQ
        Maqj6ba8bx+yO1Rc4W8JQrXzsc1sN/dQFW5m4RXLjFZKDnqG0Ad0AZw6h+HmbLpc
        kRZSPrwZ3enDa8O9VJvVm7prgQKBgQC1FNrwQAWhuCqrSIJncLEug4GtqXPgktA4
        Kn8oy1GiZuOQGYoOe6ILDKIJqA3R7CDFMUwtVjUhIrA0dWHHLg4YNoSaZSB4Mpl+
        cUG+FzeaSCZq8Ix0aH8LxgiOp9WQVn9gDd0wUn104FEltKoAl9pD5eOOtTnkrf45
        Zw/tFP9YdwKBgFUr/OgFIqtOU5KLlu2n/oqCm/dRhl1o6u4tUCy/MLMnhRZjhQpp
        zHgGlEcdD0uDLga2GXjNznlA25v1Iqz/epDsVfJp8N77NhbPIUShshG9lXysZ6nb
        BeJJp91Reb3rjPqX12f3AkQ+PGngG73eiPWbQ8gIudJl2IUsUfUW+zQBAoGBALC8
        6zfEdPqzwsmsmsKVJgoNBpvWIShWgu3e5H+Pelz06TSzCKE8IBuCuACOyvZR7mYo
        yH4TfwWZUrvQuZ9rHwyY4XHENB283T2hExaSmI130C9eGuhfOWjnX2DFBNe85NN+
        lJ1eVd6mNe2EWMz9aWYN0b1uulOtUsz5/3xZmyPfAoGAb2udKR6RrVP2ZqNfr01G
        MXNqytB2nKuVUKtNii/BeaLvEJD7CXVo3zcfujLDrgaKZXbrsqx/E2x8HL4B0isz
        niATcWXI0oOeEbRyB+UhhBhbDa8OoAxwqPRYgS5SljRswxOwH0FP760CQL6pNTiA
        dnzN6w1SS/cJaV++mP6+Yxc=
        -----END PRIVATE KEY-----
        """
}

/// Public keys in PEM.
enum PublicPEM {
    /// RSA, 2048 bits: of `TestSigner.rsaPEM`.
    static let rsa = """
        -----BEGIN PUBLIC KEY-----
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAs6q1nJtz70nscTYrLyu6
        zsT9rTYlvTZO1wccPIO2C8UPtcfM+6C1a1L84JyFBQvs6f1BZ/a2vnP/E942S02/
        dsuiPpAJpBrPHoTlhK2j/A9tijAj9Vz9X0EF6rU0uLEauM5v/110+S2QwHBZLrsO
        01MG0IaN67BkKo/IInppoYdEX/YN7pBRfVxpQ5IJ03KPKwOFCzah3XcJLyMguqTE
        0/QtNMDf5frorK7RcxRDjoiQF8aaV7N9ZX62mcANyxNLarUcXSFkuiOSDSm+BFIl
        lzF+vUSZYstoiwjVvw+sYaQRs7lSf5lFNRGVDiQCiYHKVsdo++47XlYTn6JXohtQ
        9wIDAQAB
        -----END PUBLIC KEY-----
        """

    /// EC P-256.
    static let p256 = """
        -----BEGIN PUBLIC KEY-----
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZV2XvF1031KEXNzqkzHhu6vQ2Sis
        mqnnwQdltIBbuU9iOIzLPir4qL7957/pAvFKVSyJxfbMJKBOfTQiteN2GA==
        -----END PUBLIC KEY-----
        """

    /// Ed25519.
    static let ed25519 = """
        -----BEGIN PUBLIC KEY-----
        MCowBQYDK2VwAyEAJvbxBMute09YJEbX8wHpuDy/ar2OcCmQ8JLnT0Qk3T0=
        -----END PUBLIC KEY-----
        """

    /// EC P-384, which has no algorithm here.
    static let p384 = """
        -----BEGIN PUBLIC KEY-----
        MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEpS1+4jrGLQXcdUczdpthgBCIf91XLrw4
        Fs1TksrO77hHxIRkei2IUG4sZu+ggNMIsSu29B5dgqqVmG4BEAweJKOjNkA/YqLt
        FpalGkx2OefeOTLCcr80ghHzyYKUTGqg
        -----END PUBLIC KEY-----
        """

    /// RSA, 1024 bits: too short.
    static let shortRSA = """
        -----BEGIN PUBLIC KEY-----
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDXAFspy+r67+P6WPBSe/7KuqP5
        VlJwIwHO+BfC20l/1B1/qaFwTb3EmLSTuzp4lYnaF00yt64Dl3lc4mWievTqQ5tB
        GUiFTlMHOTCXaq1nJ2rRnWH6XpOwGvwPZeLbojslZKowoV+26kp+0TvaI3dnrjap
        xnN/UCYSNReyWObPIwIDAQAB
        -----END PUBLIC KEY-----
        """
}
