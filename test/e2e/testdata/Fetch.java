import java.net.URI;
import java.net.http.*;
import javax.net.ssl.HttpsURLConnection;

/** Gets a URL by both of Java's clients, with a header Authorization, and prints what both say if it is the same. */
public class Fetch {
  public static void main(String[] args) throws Exception {
    var old = (HttpsURLConnection) URI.create(args[0]).toURL().openConnection();
    old.setRequestProperty("Authorization", args[1]);
    var one = new String(old.getInputStream().readAllBytes());
    var request = HttpRequest.newBuilder(URI.create(args[0])).header("Authorization", args[1]).build();
    var two = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
    System.out.println(one.equals(two) ? one : "two answers: " + one + ", " + two);
  }
}
