/// What libFuzzer calls with each input. A fault is a crash, so that the input is kept.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    if let fault = FuzzedDecoders.fault(with: UnsafeBufferPointer(start: start, count: count)) {
        fatalError(fault)
    }
    return 0
}
