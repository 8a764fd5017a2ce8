@main
struct Granary {
    static func main() {}
}
