import Configuration
import Hummingbird
import HummingbirdCore
import NIOWebSocket

@main struct Main { static func main() {} }
