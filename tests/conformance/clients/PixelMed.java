// SPDX-License-Identifier: AGPL-3.0-or-later
import com.pixelmed.dicom.Attribute;
import com.pixelmed.dicom.AttributeList;
import com.pixelmed.dicom.AttributeTag;
import com.pixelmed.dicom.CodeStringAttribute;
import com.pixelmed.dicom.SOPClass;
import com.pixelmed.dicom.SetOfDicomFiles;
import com.pixelmed.dicom.StoredFilePathStrategy;
import com.pixelmed.dicom.TagFromName;
import com.pixelmed.dicom.UniqueIdentifierAttribute;
import com.pixelmed.network.FindSOPClassSCU;
import com.pixelmed.network.GetSOPClassSCU;
import com.pixelmed.network.IdentifierHandler;
import com.pixelmed.network.MoveSOPClassSCU;
import com.pixelmed.network.MultipleInstanceTransferStatusHandler;
import com.pixelmed.network.ReceivedObjectHandler;
import com.pixelmed.network.StorageSOPClassSCPDispatcher;
import com.pixelmed.network.StorageSOPClassSCU;
import com.pixelmed.network.VerificationSOPClassSCU;
import java.io.File;
import java.util.Arrays;
import java.util.Set;

/**
 * PixelMed's toolkit as a client: java PixelMed.java HOST PORT CALLING CALLED VERB WORD...
 * It prints what came, one thing in a line. An error of the toolkit ends it with its status.
 */
public class PixelMed {
  public static void main(String[] words) throws Exception {
    String host = words[0], calling = words[2], called = words[3];
    int port = Integer.parseInt(words[1]);
    switch (words[4]) {
      case "echo" -> new VerificationSOPClassSCU(host, port, called, calling, false);
      case "store" -> store(host, port, calling, called, words);
      case "find" -> new FindSOPClassSCU(host, port, called, calling, SOPClass.StudyRootQueryRetrieveInformationModelFind,
          identifier("IMAGE", words[5]), printing());
      case "get" -> new GetSOPClassSCU(host, port, called, calling, SOPClass.StudyRootQueryRetrieveInformationModelGet,
          identifier("STUDY", words[5]), new IdentifierHandler(), new File(words[6]),
          StoredFilePathStrategy.BYSOPINSTANCEUIDINSINGLEFOLDER, quiet(),
          // All that the toolkit knows are more than an association can have contexts.
          Set.of(Arrays.copyOfRange(words, 7, words.length)), true, false, false);
      case "move" -> move(host, port, calling, called, words);
      default -> throw new IllegalArgumentException(words[4] + ": is no verb of this program");
    }
    System.exit(0);
  }

  private static void store(String host, int port, String calling, String called, String[] words) throws Exception {
    SetOfDicomFiles files = new SetOfDicomFiles();
    for (int place = 5; place < words.length; place++) {
      files.add(words[place]);
    }
    new StorageSOPClassSCU(host, port, called, calling, files, 0, new MultipleInstanceTransferStatusHandler() {
      @Override
      public void updateStatus(int remaining, int completed, int failed, int warning, String uid) {
        System.out.printf("remaining %d completed %d failed %d warning %d%n", remaining, completed, failed, warning);
      }
    });
  }

  private static void move(String host, int port, String calling, String called, String[] words) throws Exception {
    StorageSOPClassSCPDispatcher receiver = new StorageSOPClassSCPDispatcher(Integer.parseInt(words[7]), calling,
        new File(words[6]), StoredFilePathStrategy.BYSOPINSTANCEUIDINSINGLEFOLDER, quiet());
    new Thread(receiver).start();
    while (!receiver.isReady()) {
      Thread.sleep(50);
    }
    MoveSOPClassSCU asked = new MoveSOPClassSCU(host, port, called, calling, calling,
        SOPClass.StudyRootQueryRetrieveInformationModelMove, identifier("STUDY", words[5]));
    System.out.printf("status %04x%n", asked.getStatus());
    receiver.shutdown();
  }

  private static AttributeList identifier(String level, String study) throws Exception {
    AttributeList keys = new AttributeList();
    put(keys, new CodeStringAttribute(TagFromName.QueryRetrieveLevel), level);
    put(keys, new UniqueIdentifierAttribute(TagFromName.StudyInstanceUID), study);
    if (level.equals("IMAGE")) {
      for (AttributeTag tag : new AttributeTag[] {TagFromName.SeriesInstanceUID, TagFromName.SOPInstanceUID}) {
        keys.put(new UniqueIdentifierAttribute(tag));
      }
    }
    return keys;
  }

  private static void put(AttributeList keys, Attribute attribute, String value) throws Exception {
    attribute.addValue(value);
    keys.put(attribute);
  }

  private static IdentifierHandler printing() {
    return new IdentifierHandler() {
      @Override
      public void doSomethingWithIdentifier(AttributeList answer) {
        System.out.println("found " + Attribute.getSingleStringValueOrEmptyString(answer, TagFromName.SOPInstanceUID));
      }
    };
  }

  private static ReceivedObjectHandler quiet() {
    return new ReceivedObjectHandler() {
      @Override
      public void sendReceivedObjectIndication(String file, String syntax, String caller) {
      }
    };
  }
}
