/// What was asked for lately, of bounded number: two generations, of which the old one goes when the young one is full. What is used again moves up.
public struct Generations<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private var young: [Key: Value] = [:]
    private var old: [Key: Value] = [:]
    private let generationMax: Int

    /// - Parameter entriesMax: that are kept at once.
    public init(entriesMax: Int) { generationMax = max(1, entriesMax / 2) }

    public subscript(key: Key) -> Value? {
        mutating get {
            if let value = young[key] { return value }
            guard let value = old[key] else { return nil }
            self[key] = value
            return value
        }
        set {
            old[key] = nil
            if newValue != nil, young[key] == nil, young.count >= generationMax {
                old = young
                young = [:]
            }
            young[key] = newValue
        }
    }

    public var count: Int { young.count + old.count }

    public mutating func removeAll(where isOver: (Key) -> Bool) {
        young = young.filter { !isOver($0.key) }
        old = old.filter { !isOver($0.key) }
    }
}
